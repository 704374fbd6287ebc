"""Outcomes and records for the tests of this folder."""

from __future__ import annotations

import base64
import pickle
from typing import Any

from django_q import clock
from django_q.envelope import Envelope
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.results import Record, make_record

OPTIONS = Options(name="tests")


def ended(
    result: Any = 3, *, success: bool = True, attempt: int = 1, **options: Any
) -> Outcome:
    """The end of a task that was called with these options."""
    args = options.pop("args", (1, 2))
    kwargs = options.pop("kwargs", {})
    return Outcome(
        envelope=Envelope.from_call("tests.functions.add", args, kwargs, options),
        success=success,
        result=result,
        stopped=clock.now(),
        cause=Cause.RETURNED if success else Cause.RAISED,
        attempt=attempt,
        summary="" if success else str(result),
    )


def record_of(outcome: Outcome, options: Options = OPTIONS) -> Record:
    return make_record(outcome, options)[1]


def decode(text: str) -> Any:
    """What the column of a Task shows."""
    return pickle.loads(base64.b64decode(text))
