"""Trail: where the rows of a queue begin, when many dead ones lie before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Final

SLOW: Final = 0.002
"""Seconds; a claim that takes longer has perhaps walked over dead rows."""

FOR_EACH: Final = 0.0001
"""Seconds more for each row that was wanted."""

SUSPICIOUS: Final = 8
"""So many slow claims, one after the other, are no accident."""

SHARE: Final = 20
"""From the beginning is looked one part in so many of the time."""

LONGEST_SKIP: Final = 3.0
"""Seconds after which that is done in any case: for so long may rows stay unseen."""

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
        self._began = self._look_again = self._look_at_all = 0.0

    @property
    def is_needed(self) -> bool:
        """Whether claims were slow until now."""
        return self._slow_claims >= SUSPICIOUS

    @property
    def is_good(self) -> bool:
        """Whether claims may begin where the rows do. Now and then they may not."""
        return self.is_needed and monotonic() < self._look_at_all

    @property
    def is_old(self) -> bool:
        """Whether it is time to look again where the rows begin."""
        return monotonic() >= self._look_again

    def found(self, floors: Floors) -> None:
        """The rows begin here."""
        now = monotonic()
        if not self.is_good:
            pause = min((now - self._began) * SHARE, LONGEST_SKIP)
            self._look_at_all = now + pause
        self.floors, self._look_again = floors, now + FRESH

    @contextmanager
    def watched(self, count: int) -> Iterator[None]:
        """A claim that walks over everything to find so many rows."""
        self._began = monotonic()
        yield
        is_slow = monotonic() - self._began > SLOW + count * FOR_EACH
        self._slow_claims = self._slow_claims + 1 if is_slow else 0
