"""Processes of one's own: their context, and their processors."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.context import BaseContext

from django_q.cluster.affinity import choose_processors
from django_q.conf import get_options
from django_q.logs import logger

__all__ = ["get_mp_context", "set_cpu_affinity"]


def get_mp_context() -> BaseContext:
    """For processes, queues and events that can be given anything: by fork, if it is
    there. The cluster itself starts its processes as the setting `start_method` says.
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if can_fork else None)


def set_cpu_affinity(
    share: int, process_ids: Sequence[int], actual: bool | None = None
) -> None:
    """Deal the processors out to processes of ours, `share` to each.

    `actual`: False only says in the log what it would do; None: unless the setting
    `testing` is on.
    """
    if share <= 0 or not hasattr(os, "sched_setaffinity"):
        return
    actual = not get_options().testing if actual is None else actual
    processors = sorted(os.sched_getaffinity(0))
    for number, pid in enumerate(process_ids):
        chosen = choose_processors(number, share, processors)
        if actual:
            os.sched_setaffinity(pid, chosen)
        logger.info("%s will use cpu %s", pid, chosen)
