"""Gauges: what a process leaves behind in the files of prometheus_client."""

from __future__ import annotations

import os

from django_q.logs import clean, logger
from django_q.optional import find_optional


def forget_gauges(pid: int) -> None:
    """Take the gauges of a dead process out of the sums over the living ones.

    Only where the project has several processes report together.
    """
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return
    multiprocess = find_optional("prometheus_client.multiprocess")
    if multiprocess is None:
        return
    try:
        multiprocess.mark_process_dead(pid)
    except Exception as error:  # noqa: BLE001 - measuring must not end the sentinel
        logger.warning("the gauges of process %s stay: %s", pid, clean(error))
