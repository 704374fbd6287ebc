"""Clocks: that of a database, which hosts that disagree on the time have in common, and
that of this machine, which somebody may set.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from typing import Final

from django.db import connections

from django_q import clock
from django_q.logs import logger

SECONDS: Final = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
    "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6",
}
"""How a database says how many seconds there have been since 1970. One that has no clock of
its own is not asked.
"""

ASKED_EVERY: Final = 30.0
TOLERABLE: Final = 2.0


class SharedClock:
    """Shows the time of a database. In between it goes on by itself, also when somebody
    sets the clock of this machine.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._seconds = 0.0
        self._set_at = self._ask_at = 0.0
        self._is_wrong_here = False

    def now(self) -> datetime:
        """This moment; by the clock of this machine, where the database has none. Raises
        what the database raises.
        """
        question = SECONDS.get(connections[self._alias].vendor)
        if question is None:
            return clock.now()
        if monotonic() >= self._ask_at:
            self._set(question)
        seconds = self._seconds + monotonic() - self._set_at
        return clock.moment(datetime.fromtimestamp(seconds, UTC))

    def _set(self, question: str) -> None:
        with connections[self._alias].cursor() as cursor:
            cursor.execute(question)
            [seconds] = cursor.fetchone()
        self._seconds, self._set_at = float(seconds), monotonic()
        self._ask_at = self._set_at + ASKED_EVERY
        self._warn(clock.now().timestamp() - self._seconds)

    def _warn(self, ahead: float) -> None:
        was_wrong, self._is_wrong_here = self._is_wrong_here, abs(ahead) > TOLERABLE
        if self._is_wrong_here and not was_wrong:
            way = "ahead of" if ahead > 0 else "behind"
            text = (
                "the clock of this machine is %.0f s %s that of database %r:"
                " schedules follow the database"
            )
            logger.warning(text, abs(ahead), way, self._alias)


class WatchedClock:
    """The clock of this machine. Tells when somebody has set it."""

    def __init__(self) -> None:
        self._offset = self._look()

    def watch(self) -> None:
        before, self._offset = self._offset, self._look()
        moved = self._offset - before
        if abs(moved) > TOLERABLE:
            logger.warning("the clock of this machine was moved by %+.0f s", moved)

    def _look(self) -> float:
        """By how much it differs from time that only passes."""
        return clock.now().timestamp() - monotonic()
