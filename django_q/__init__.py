"""A task queue for Django: functions run in the background, or on a schedule."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

__version__ = "1.0.0.dev0"

VERSION = (1, 0, 0, "dev", 0)
"""The same as a tuple, for code that compares."""

OLD_NAMES: Final = {
    "django_q.tasks": (
        "async async_task count_group delete_group fetch fetch_group queue_size result "
        "result_group schedule"
    ),
    "django_q.models": "Failure Schedule Success Task",
    "django_q.cluster": "Cluster",
    "django_q.status": "Stat",
}
"""What 0.6.4 had here, and where it is now."""

if not TYPE_CHECKING:
    # Who writes new code, and checks its types, is told that nothing of this is here.
    def __getattr__(name: str) -> Any:
        """A name of 0.6.4. Models load only now: this package comes before the apps."""
        for module, names in OLD_NAMES.items():
            if name in names.split():
                return getattr(import_module(module), name)
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
