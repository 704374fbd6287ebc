"""What came of a run, as the signals carry it."""

from __future__ import annotations

from django_q import clock
from django_q.envelope import Envelope
from django_q.outcome import Cause, Outcome


def test_the_task_dict_with_its_end() -> None:
    envelope = Envelope.from_call("a.b", (1,), {}, {"group": "g"})
    now = clock.now()
    ended = Outcome(envelope=envelope, success=True, result=None, stopped=now)
    assert ended.as_dict() == envelope.as_dict() | {
        "result": None,
        "success": True,
        "stopped": now,
    }
    assert ended.attempt == 1
    assert ended.cause is Cause.RETURNED
    assert str(Cause.TIMED_OUT) == "timed out"
