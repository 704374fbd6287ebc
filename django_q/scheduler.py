"""Scheduler: one pass over the due schedules, for code that calls it itself."""

from __future__ import annotations

import multiprocessing
from typing import Any, Final

from django_q.brokers import Broker, get_broker
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.legacy import elsewhere
from django_q.logs import logger

__all__ = ["scheduler"]

ELSEWHERE: Final = {
    "Conf": "django_q.conf",
    "Schedule": "django_q.models",
    "async_task": "django_q.tasks",
    "close_old_django_connections": "django_q.utils",
    "croniter": "django_q.conf",
    "localtime": "django_q.utils",
    "router": "django.db",
    "timezone": "django.utils",
    "transaction": "django.db",
}
"""What a scheduler of a project's own, made after the older ones, looks for here."""


def __getattr__(name: str) -> Any:
    return elsewhere.find(__name__, ELSEWHERE, name)


def scheduler(broker: Broker | None = None) -> None:
    """Enqueue a task for each schedule that is due, once over all clusters.

    Of slots that a schedule has missed each call enqueues one; a cluster goes on until
    none is left. A schedule that can't be enqueued shows its error, and an outage is logged.
    """
    title = multiprocessing.current_process().name
    try:
        Scheduler(get_options(), broker or get_broker(), title).enqueue_due(once=True)
    except Exception:  # noqa: BLE001 - its callers do something else besides
        logger.exception("Could not create task from schedule")
