"""Stop: counts the signals that ask the demo to end."""

from __future__ import annotations

import signal
from time import sleep
from types import FrameType

GLANCE = 0.05
"""Seconds between two looks at the world."""


class StopAsked(Exception):
    """Somebody pressed Ctrl-C, or sent a signal that ends programs."""


class Stop:
    """Signals only count; the demo looks here between its steps.

    A handler that raises could do so between the birth of a child and the line that
    notes it, and leave the child behind.
    """

    def __init__(self) -> None:
        self.count = 0
        self.signal = 0
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
        for name in names:
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.signal = number

    def pause(self, duration: float = GLANCE) -> None:
        """Sleep a moment; raises StopAsked once a stop was asked for."""
        if not self.count:
            sleep(duration)
        if self.count:
            raise StopAsked
