"""Which processors a worker may use."""

from __future__ import annotations

import os
from collections.abc import Sequence

from django_q.logs import logger


def choose_processors(worker: int, share: int, processors: Sequence[int]) -> list[int]:
    """The processors of worker number `worker` (from 0), dealt out round robin; pure.

    A share of 0, or of all there are, is no restriction.
    """
    if share <= 0 or share >= len(processors):
        return list(processors)
    start = worker * share
    return [processors[(start + step) % len(processors)] for step in range(share)]


def restrict_to_share(worker: int, share: int, *, pretend: bool = False) -> None:
    """Bind this process to its share, where the system can; `pretend`: only say so."""
    if share <= 0 or not hasattr(os, "sched_setaffinity"):
        return
    chosen = choose_processors(worker, share, sorted(os.sched_getaffinity(0)))
    logger.debug("worker %s runs on processors %s", worker + 1, chosen)
    if not pretend:
        os.sched_setaffinity(0, chosen)
