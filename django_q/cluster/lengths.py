"""Lengths: how long functions took in a worker of late."""

from __future__ import annotations

from math import inf
from typing import Final

MOST_FUNCTIONS: Final = 1000
"""Functions whose lengths a worker remembers."""

SHORT_RUN: Final = 0.02
"""Seconds; the start of a shorter run is not told, and hooks wait for its end."""


class Lengths:
    """The last run of each function here."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def note(self, func_name: str, seconds: float) -> None:
        if len(self._seconds) >= MOST_FUNCTIONS:
            self._seconds.clear()
        self._seconds[func_name] = seconds

    def is_short(self, func_name: str) -> bool:
        """False also for what has not run yet."""
        return self._seconds.get(func_name, inf) < SHORT_RUN
