"""The cluster: the processes that run tasks. The door opens lazily, since children
enter through this package before the apps are loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

__all__ = ["Cluster", "Sentinel"]

ROOMS: Final = {
    "Cluster": "django_q.cluster.cluster",
    "Sentinel": "django_q.cluster.sentinel",
}


def __getattr__(name: str) -> Any:
    if name not in ROOMS:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(ROOMS[name]), name)
