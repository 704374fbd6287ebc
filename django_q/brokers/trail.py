"""Trail: where the rows of a queue begin, when many dead ones lie before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Final

SLOW: Final = 0.005
"""Seconds; a claim that takes longer has perhaps walked over dead rows."""

SUSPICIOUS: Final = 8
"""So many slow claims, one after the other, are no accident."""

SHARE: Final = 20
"""From the beginning is looked one part in so many of the time."""

FRESH: Final = 1.0
"""Seconds for which it is good enough to know where the rows begin."""

Floors = Mapping[int, tuple[datetime | None, int]]
"""By priority: `lock` and id before which there is no row to be taken."""


class Trail:
    """What one process knows of the beginning of a queue.

    PostgreSQL keeps rows that are gone as long as a transaction is open that could see
    them, and walks over all of them at each claim. Whoever notices that claims are slow
    looks where the rows begin, and starts there for a while.
    """

    def __init__(self) -> None:
        self.floors: Floors = {}
        self._slow_claims = 0
        self._look_again = self._look_at_all = 0.0

    @property
    def is_needed(self) -> bool:
        """Whether claims begin where the rows do."""
        return self._slow_claims >= SUSPICIOUS

    @property
    def is_old(self) -> bool:
        """Whether it is time to look again, from where the rows began."""
        return monotonic() >= self._look_again

    def begin(self) -> Floors:
        """From where to look: from the very beginning, now and then."""
        return {} if monotonic() >= self._look_at_all else self.floors

    def found(self, floors: Floors, began: float, *, at_all: bool) -> None:
        """The rows begin here; the look began at this moment."""
        now = monotonic()
        self.floors, self._look_again = floors, now + FRESH
        if at_all:
            self._look_at_all = now + (now - began) * SHARE
            if now - began < SLOW:
                self._slow_claims = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A claim that walks over everything."""
        began = monotonic()
        yield
        is_slow = monotonic() - began > SLOW
        self._slow_claims = self._slow_claims + 1 if is_slow else 0
        self._look_again = self._look_at_all = 0.0
