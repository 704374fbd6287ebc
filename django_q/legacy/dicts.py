"""Task dicts: what travels on the queues of the functions worker, monitor and pusher."""

from __future__ import annotations

from typing import Any, Final, Protocol

from django_q import clock
from django_q.envelope import Envelope
from django_q.outcome import Outcome

Task = dict[str, Any]

STOP: Final = "STOP"
"""On a queue: nothing more comes."""

STAMPS: Final = ("ack_id", "attempts")
"""What the pusher puts into a task: its receipt, and how many runs failed before."""

ENDING: Final = ("result", "success", "stopped")
"""What the worker puts into it."""


class Source(Protocol):
    """A queue, as far as one takes from it."""

    def get(self) -> Any:
        """The next thing, once there is one."""


class Sink(Protocol):
    """A queue, as far as one puts on it."""

    def put(self, thing: Any, /) -> Any:
        """Add something at the end."""


def envelope_of(task: Task) -> Envelope:
    """The task that is to run. Raises UnreadablePackage for a dict that is none."""
    own = {k: v for k, v in task.items() if k not in STAMPS + ENDING}
    return Envelope.from_dict(own)


def ended(task: Task, outcome: Outcome) -> Task:
    """The task with what came of it, as the worker hands it on."""
    stamps = {key: task[key] for key in STAMPS if key in task}
    return outcome.as_dict() | stamps


def outcome_of(task: Task, *, attempt: int = 1) -> Outcome:
    """What came of a task, as its dict tells. `attempt`: which run of it this was."""
    success, result = bool(task.get("success")), task.get("result")
    return Outcome(
        envelope=envelope_of(task),
        success=success,
        result=result,
        stopped=clock.moment(task.get("stopped")),
        attempt=attempt,
        summary="" if success else last_line(result),
    )


def last_line(text: Any) -> str:
    """The error itself: the traceback, of whatever length, ends with it."""
    lines = str(text).strip().splitlines()
    return lines[-1].rpartition(" : ")[2] if lines else ""
