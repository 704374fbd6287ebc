"""Looks: when a pusher looks into a queue though nothing called."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

LOOK_EVERY: Final = 5.0
"""Seconds after which the queue is looked at anyway: a producer of an earlier release
does not call.
"""

LOOK_OFTEN: Final = 1.0
"""The same for a while after somebody did not, and once after each find."""

LONG_AFTER: Final = 3600.0


class Looks:
    """The next looks: when a delayed package is due, and now and then."""

    def __init__(self) -> None:
        self._due = inf
        self._next = self._often_until = 0.0
        self._is_uncalled = False

    @property
    def rest(self) -> float:
        """Seconds until the next one; less than 0: it is overdue."""
        return min(self._due, self._next) - monotonic()

    def is_time(self, may_miss: Callable[[], bool]) -> bool:
        """Whether to look now. `may_miss` is asked whether it makes sense, and may raise:
        then it is still time.
        """
        now = monotonic()
        is_due = now >= self._due
        if not is_due and now < self._next:
            return False
        self._is_uncalled = not is_due and may_miss()
        self._next = now + (LOOK_OFTEN if now < self._often_until else LOOK_EVERY)
        if is_due:
            self._due = inf
        return is_due or self._is_uncalled

    def found(self) -> None:
        """There was something, and behind it may be what is due soon."""
        self._note()
        self._due = min(self._due, monotonic() + LOOK_OFTEN)

    def found_none(self, due: float | None) -> None:
        """The next package is due in so many seconds, as far as can be known."""
        planned, self._due = self._due, inf if due is None else monotonic() + due
        if self._due < planned - LOOK_OFTEN:
            self._note()
        self._is_uncalled = False

    def expect(self) -> None:
        """Something goes back to the queue, and nobody calls when it is due."""
        self._due = monotonic()

    def _note(self) -> None:
        if self._is_uncalled:
            self._often_until = monotonic() + LONG_AFTER
        self._is_uncalled = False
