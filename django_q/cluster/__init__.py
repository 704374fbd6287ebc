"""The cluster: the processes that run tasks. The door opens lazily, since children
enter through this package before the apps are loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

ROOMS: Final = {
    "Cluster": "django_q.cluster.cluster",
    "Sentinel": "django_q.legacy.sentinel",
    "get_mp_context": "django_q.legacy.processes",
    "set_cpu_affinity": "django_q.legacy.processes",
    # The roles as functions, for code that drives them itself. No module of this
    # package may be called as one of them, or it would hide the function.
    "monitor": "django_q.monitor",
    "pusher": "django_q.pusher",
    "scheduler": "django_q.scheduler",
    "worker": "django_q.worker",
    # What earlier releases also had here.
    "Conf": "django_q.conf",
    "Queue": "django_q.queues",
    "Stat": "django_q.status",
    "Status": "django_q.status",
    "close_old_django_connections": "django_q.utils",
    "get_broker": "django_q.brokers",
    "humanize": "django_q.humanhash",
    "localtime": "django_q.utils",
    "logger": "django_q.logs",
    "rss_check": "django_q.worker",
    "save_cached": "django_q.monitor",
    "save_task": "django_q.monitor",
}

__all__ = list(ROOMS)


def __getattr__(name: str) -> Any:
    if name not in ROOMS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(ROOMS[name]), name)
