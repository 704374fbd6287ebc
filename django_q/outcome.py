"""Outcome: what came of one run of a task."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, NamedTuple

from django_q.envelope import Envelope


class Cause(enum.StrEnum):
    """How a run ended."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timed out"
    LOST = "lost"
    """Its worker died, as often as `max_deliveries` allows."""

    TOO_OLD = "too old"
    """It was queued longer ago than `max_task_age` allows, and did not run."""


class Outcome(NamedTuple):
    """What came of one run. Never changes."""

    envelope: Envelope
    success: bool
    result: Any
    """The value that the function returned, or the error as text."""

    stopped: datetime
    ran: float = 0.0
    """Seconds that the function ran."""

    cause: Cause = Cause.RETURNED
    attempt: int = 1
    """Which run of the task this was, counted from 1."""

    error: BaseException | None = None
    """What the function raised; sync mode raises it again. Does not travel."""

    summary: str = ""
    """The error in one line, without the traceback; empty for a success."""

    last_part: Outcome | None = None
    """Of an iterable: the outcome of the part that ended last."""

    def ending(self) -> dict[str, Any]:
        """What the signals after the run carry beside the task."""
        return {
            "result": self.result,
            "success": self.success,
            "stopped": self.stopped,
        }

    def as_dict(self) -> dict[str, Any]:
        """The task dict with result, as the signals after the run carry it."""
        return self.envelope.as_shown() | self.ending()
