"""Record: an outcome as the plain column values that are saved.

The worker makes it; monitor and sync mode save it. Arguments and result are already
encoded, so whoever saves a record never unpickles anything.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from django_q.compact import to_json


class Record(NamedTuple):
    """One ended run, ready to be saved. All values are text, numbers or truth.

    A named tuple, because each task makes two: one in the worker, one in the monitor.
    """

    id: str
    name: str
    func: str
    hook: str | None
    args: str
    kwargs: str
    result: str
    group: str | None
    cluster: str | None
    started: str
    """ISO 8601, with offset unless USE_TZ is False; as `stopped`."""

    stopped: str
    success: bool
    attempt: int

    keep: bool = True
    """Write a row. False: an unwanted success, a cached result, or a retry to come."""

    pause: float | None = None
    """None: the task ended. A number: it runs again after so many seconds."""

    link: str | None = None
    """Package of the chain's next task, sealed by the worker."""

    link_id: str | None = None
    link_queue: str | None = None
    ran: float = 0.0
    waited: float = 0.0
    cause: str = "returned"
    summary: str = ""
    attempts_allowed: int = 1
    noted: bool = False
    """Write a row for this attempt."""

    worker: str = ""
    error: str = ""
    """For that row: the error with its traceback."""

    def to_bytes(self) -> bytes:
        """The record as it travels on a line."""
        return to_json(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        """The record that to_bytes made."""
        return cls._make(json.loads(data))
