"""The five signals of a task's life. The sender is always the text "django_q"."""

from __future__ import annotations

from typing import Any, Final

from django.dispatch import Signal
from django.utils.module_loading import import_string

__all__ = [
    "post_execute",
    "post_execute_in_worker",
    "post_spawn",
    "pre_enqueue",
    "pre_execute",
]

SENDER: Final = "django_q"

pre_enqueue = Signal()
"""`task`: the dict, before it is signed. Receivers may change it, or raise to veto."""

post_spawn = Signal()
"""`proc_name`: sent once in every worker process."""

pre_execute = Signal()
"""`func` (resolved, or None) and `task`: in the worker, before the call."""

post_execute_in_worker = Signal()
"""`func` and `task` with its result: in the worker, after the call."""

post_execute = Signal()
"""`task` with its result: after the result was saved and acknowledged."""


def __getattr__(name: str) -> Any:
    """`call_hook`, which others look for here too, once the apps are loaded."""
    if name == "call_hook":
        return import_string("django_q.models.call_hook")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def announce(signal: Signal, **details: Any) -> None:
    """Send one of the signals; the only caller of Signal.send. Errors propagate."""
    if signal.receivers:
        signal.send(sender=SENDER, **details)
