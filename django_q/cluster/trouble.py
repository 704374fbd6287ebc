"""Trouble: something outside fails, and perhaps again and again. When to try, what to say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from django.db import DatabaseError

from django_q.exceptions import DjangoQError
from django_q.logs import clean, logger

OUTAGES: Final = (OSError, DatabaseError, DjangoQError)
"""What says all in one line; anything else comes with its traceback."""

SAY_AGAIN: Final = 60.0
"""Seconds between two lines about the same trouble."""

LONG_SILENCE: Final = 5.0
"""Seconds; who answers at last, but not before, is worth a line."""


class Trouble:
    """Growing pauses after errors, and a log that tells of the first, then once a minute
    how many there were, and once when it is over.
    """

    def __init__(self, first: float = 0.1, longest: float = 3.0) -> None:
        self._first, self._longest = first, longest
        self._next = first
        self._failures = 0
        self._began = self._until = self._say_next = 0.0
        self._say_silence = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it failed, and the next try is to be now."""
        return self._failures > 0 and not self.rest

    @property
    def rest(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._until - monotonic())

    def begin(
        self, what: str, error: BaseException, pause: float | None = None
    ) -> float:
        """It failed (once more). Gives the seconds until the next try: `pause`, where the
        caller counts by itself.
        """
        now, pause = monotonic(), self._next if pause is None else pause
        reason = clean(error) or type(error).__name__
        self._until = now + pause
        self._next = min(self._longest, pause * 2)
        self._failures += 1
        if self._failures == 1:
            self._began, self._say_next = now, now + SAY_AGAIN
            text = "%s (%s). Trying again in %.1f s"
            surprise = None if isinstance(error, OUTAGES) else error
            logger.warning(text, what, reason, pause, exc_info=surprise)
        elif now >= self._say_next:
            self._say_next = now + SAY_AGAIN
            text = "%s (%s), %s times in %.0f s. Trying again in %.1f s"
            counts = self._failures, now - self._began
            logger.warning(text, what, reason, *counts, pause)
        return pause

    @contextmanager
    def watch(self, whom: str) -> Iterator[None]:
        """Somebody is asked now, who may stand still and answer at last: then nothing has
        failed, but for a while nothing could be done.
        """
        begun = monotonic()
        yield
        now = monotonic()
        if now - begun >= LONG_SILENCE and now >= self._say_silence:
            self._say_silence = now + SAY_AGAIN
            logger.warning("%s was silent for %.1f s", whom, now - begun)

    @contextmanager
    def endure(self, who: str, whom: str) -> Iterator[None]:
        """Whom `who` asks now is watched, and what goes wrong ends here, as trouble."""
        try:
            with self.watch(f"{who}: {whom}"):
                yield
        except Exception as error:  # noqa: BLE001 - any client's errors
            self.begin(f"{who} can't use {whom}", error)

    def end(self, what: str) -> None:
        """It works. Says so if it did not before; during a pause nothing was tried."""
        if self.is_due:
            logger.info("%s again, after %.1f s", what, monotonic() - self._began)
            self._failures, self._next, self._until = 0, self._first, 0.0
