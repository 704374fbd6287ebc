"""Record: an outcome as the plain column values that are saved.

The worker makes it; monitor and sync mode save it. Arguments and result are already
encoded, so whoever saves a record loads nothing that is the task's.
"""

from __future__ import annotations

import io
import pickle
from types import NoneType
from typing import Any, Final, NamedTuple, NoReturn

PLAIN: Final = frozenset({str, int, float, bool, NoneType})


class PlainUnpickler(pickle.Unpickler):
    """Loads text, numbers and truth, and what holds them; nothing else. No class is ever
    looked for, so no code runs, whoever wrote the bytes.
    """

    def find_class(self, module: str, name: str) -> NoReturn:
        message = f"A record holds {module}.{name}: only plain values travel in it."
        raise pickle.UnpicklingError(message)


class Record(NamedTuple):
    """One ended run, ready to be saved. All values are text, numbers or truth, and of
    exactly these types, not of subclasses.

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
        """The record as it travels on a line. Raises PicklingError for what is not plain:
        here, where it harms one worker, and not in the monitor that all need.
        """
        if not PLAIN.issuperset(map(type, self)):
            odd = {type(value) for value in self} - PLAIN
            names = ", ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in odd)
            raise pickle.PicklingError(f"A record can't hold {names}.")
        return pickle.dumps(tuple(self), pickle.HIGHEST_PROTOCOL)

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        """The record that to_bytes made. Raises UnpicklingError for what is not plain."""
        values: tuple[Any, ...] = PlainUnpickler(io.BytesIO(data)).load()
        return cls._make(values)
