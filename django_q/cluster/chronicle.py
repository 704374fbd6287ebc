"""Chronicle: the log lines of ended runs, one each, or one for many when it is busy."""

from __future__ import annotations

from collections.abc import Sequence
from logging import DEBUG
from typing import Final

from django_q.logs import clean, logger
from django_q.results import Record

SUMMARY_EVERY: Final = 10.0
"""Seconds between two summaries while tasks end too fast to name each."""

BUSY: Final = 50
"""Ended runs in a second from which successes are summed up."""


class Chronicle:
    """Says what ended. Failures always get a line; successes while there are few."""

    def __init__(self) -> None:
        self._second = 0.0
        self._in_second = 0
        self._quiet = 0
        self._failed = 0
        self._waits: list[float] = []
        self._summary_due = 0.0

    def record(self, records: Sequence[Record], now: float) -> None:
        for record in records:
            if record.cause in {"rejected", "repeated", "not ours"}:
                continue
            if not record.success:
                self._tell_failure(record)
            elif self._is_busy(now):
                self._count(record, now)
            else:
                text = "✓ %s [%s] in %.1f s"
                logger.info(text, clean(record.func), clean(record.name), record.ran)

    def summarise(self, now: float) -> None:
        """Say how many ended, once their time has come."""
        if not self._quiet or now < self._summary_due:
            return
        self._waits.sort()
        p95 = self._waits[int(len(self._waits) * 0.95)] if self._waits else 0.0
        text = "%s tasks in %.0f s, %s failed, wait p95 %.1f s"
        count = f"{self._quiet:,}"
        logger.info(text, count, SUMMARY_EVERY, self._failed, p95)
        self._quiet = self._failed = 0
        self._waits.clear()

    def _tell_failure(self, record: Record) -> None:
        func, name, error = clean(record.func), clean(record.name), record.summary
        self._failed += 1
        if record.pause is not None:
            text = "↻ %s [%s] %s; attempt %s in %.1f s"
            attempt = f"{record.attempt + 1}/{record.attempts_allowed or '∞'}"
            logger.warning(text, func, name, clean(error), attempt, record.pause)
        elif record.attempt > 1:
            text = "✕ %s [%s] gave up after %s attempts: %s"
            logger.error(text, func, name, record.attempt, clean(error))
        else:
            logger.error("✕ %s [%s] failed: %s", func, name, clean(error))

    def _is_busy(self, now: float) -> bool:
        if now - self._second >= 1.0:
            self._second, self._in_second = now, 0
        self._in_second += 1
        return self._in_second > BUSY

    def _count(self, record: Record, now: float) -> None:
        if not self._quiet:
            self._summary_due, self._failed = now + SUMMARY_EVERY, 0
        self._quiet += 1
        self._waits.append(record.waited)
        if logger.isEnabledFor(DEBUG):
            func, name = clean(record.func), clean(record.name)
            logger.debug("✓ %s [%s] in %.1f s", func, name, record.ran)
