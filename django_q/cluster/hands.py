"""Hand: what the pusher knows of one worker."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from time import monotonic, sleep
from typing import Final

from django_q.cluster.board import VOID_PAUSE, Cell, Row, State
from django_q.cluster.lines import Line
from django_q.cluster.windows import window
from django_q.options import Options

STUCK_AFTER: Final = 0.02
"""Seconds that a worker's turn may stand still before others get its parcels."""

LONG_STAND: Final = 0.1
"""Seconds at one task after which a worker has no more than one waiting behind it."""


class Hand:
    """One worker, as its row on the board and the line to it show it."""

    def __init__(
        self,
        generation: int,
        row: Row,
        line: Line,
        recycle: int = 0,
        pace: int = 0,
    ) -> None:
        """`recycle`: after so many runs the worker retires, so it gets no more.

        `pace`: microseconds that a run takes elsewhere, until it has run one itself.
        """
        self.runs_left = recycle if recycle > 0 else inf
        self._usual_pace = pace
        self.generation = generation
        self.row = row
        self.line = line
        self.is_retiring = False
        self.last_turn = 0
        self.turned = monotonic()
        self.reach = 0.0
        """Seconds that the last fetch from the broker took."""

    @property
    def last(self) -> int:
        """Number of the parcel that it began last."""
        return self.row[Cell.NUMBER]

    @property
    def is_idle(self) -> bool:
        return self.row.state is State.IDLE

    @property
    def room(self) -> int:
        """Parcels that it could begin at once."""
        return int(self.is_idle)

    @property
    def running(self) -> int:
        """Parcels that it has begun and not ended."""
        return int(not self.is_idle)

    @property
    def window(self) -> int:
        """Parcels that may wait here; few behind a task that runs long already."""
        return window(max(self.pace / 1e6, self.stood_still), self.reach)

    @property
    def pace(self) -> int:
        """Microseconds that a run takes here of late."""
        return self.row[Cell.PACE] or self._usual_pace

    @property
    def stood_still(self) -> float:
        """Seconds for which it has been at the same task, as far as was seen."""
        if self.is_idle or self._watched != self.last_turn:
            return 0.0
        return monotonic() - self.turned

    @property
    def stands_long(self) -> bool:
        return self.stood_still > LONG_STAND

    def forbid(self, numbers: Iterable[int]) -> None:
        """Return when the worker can't start any of these, if it has not by now."""
        self.row[Cell.VOID] = max(self.row[Cell.VOID], *numbers)
        sleep(VOID_PAUSE)

    @property
    def _watched(self) -> int:
        """The word that moves on with its work."""
        return self.row[Cell.TURN]

    def note_turn(self) -> None:
        """Look at the board; how long it stands still counts from the first look."""
        turn = self._watched
        if turn != self.last_turn:
            self.last_turn, self.turned = turn, monotonic()

    @property
    def is_stuck(self) -> bool:
        """Its turn has not moved for a moment."""
        return self.stood_still >= STUCK_AFTER


class WideHand(Hand):
    """A worker with several places. When it retires it says so by itself."""

    def __init__(
        self, generation: int, row: Row, line: Line, places: int, pace: int = 0
    ) -> None:
        super().__init__(generation, row, line, pace=pace)
        self._places = places

    @property
    def is_idle(self) -> bool:
        return self.row[Cell.ROOM] > 0

    @property
    def room(self) -> int:
        return self.row[Cell.ROOM]

    @property
    def running(self) -> int:
        return self.row[Cell.BUSY]

    @property
    def window(self) -> int:
        """Runs that take a second in each of a hundred places begin every 10 ms."""
        pace = self.pace / 1e6 / self._places
        return window(max(pace, self.stood_still), self.reach)

    @property
    def _watched(self) -> int:
        """What ends in one place says nothing of those that wait for another."""
        return self.row[Cell.NUMBER]


def make_hand(
    generation: int, row: Row, line: Line, options: Options, pace: int
) -> Hand:
    """What is known of a worker that the pusher meets."""
    if options.concurrency > 1:
        return WideHand(generation, row, line, options.concurrency, pace)
    return Hand(generation, row, line, options.recycle, pace)


def note_reach(hands: Iterable[Hand], milliseconds: int) -> None:
    """Fetching took so long: they need more in hand where that is longer than a task.

    Not for brokers that can't renew: what waits behind a task would come back to others.
    """
    for hand in hands:
        hand.reach = milliseconds / 1000
