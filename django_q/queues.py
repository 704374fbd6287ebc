"""Queue: a multiprocessing queue that knows its size on every system.

The cluster itself uses private lines; this stays for its public path.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.queues
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any

__all__ = ["Queue", "SharedCounter"]


class SharedCounter:
    """A whole number that several processes add to."""

    def __init__(self, start: int = 0, *, ctx: BaseContext | None = None) -> None:
        self._number = (ctx or multiprocessing.get_context()).Value("i", start)

    def increment(self, by: int = 1) -> None:
        """Add `by`, which may be negative, as one step."""
        with self._number.get_lock():
            self._number.value += by

    @property
    def value(self) -> int:
        return int(self._number.value)


if TYPE_CHECKING:
    Base = multiprocessing.queues.Queue[Any]
else:
    Base = multiprocessing.queues.Queue


class Queue(Base):
    """A multiprocessing queue with exact `qsize()` and `empty()`."""

    def __init__(self, maxsize: int = 0, *, ctx: BaseContext | None = None) -> None:
        context = ctx or multiprocessing.get_context()
        super().__init__(maxsize, ctx=context)
        # Of the same context, or a spawned process could not be given the queue.
        self.size = SharedCounter(ctx=context)

    def __getstate__(self) -> Any:
        return super().__getstate__(), self.size

    def __setstate__(self, state: Any) -> None:
        parent, self.size = state
        super().__setstate__(parent)

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(obj, block, timeout)
        self.size.increment(1)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        taken = super().get(block, timeout)
        self.size.increment(-1)
        return taken

    def qsize(self) -> int:
        return self.size.value

    def empty(self) -> bool:
        return self.qsize() <= 0
