"""TimeoutHandler: a time limit for the block of a `with` statement."""

from __future__ import annotations

import sys
from types import FrameType, TracebackType
from typing import Self

from django_q.execution.timeouts import Outer, TimeLimit, is_limit

__all__ = ["TimeoutHandler"]


class TimeoutHandler(TimeLimit):
    """Raises TimeoutException inside a block that takes longer than `timeout` seconds.

    None, 0 and less mean no limit. Works where a TimeLimit does.
    """

    def __init__(self, timeout: float | None) -> None:
        super().__init__()
        self._timeout = timeout
        self._outer: Outer | None = None

    def __enter__(self) -> Self:
        if is_limit(self._timeout):
            self._outer = self._step_in()
            self._arm(self._timeout)
            self._inside = sys._getframe(1)  # noqa: SLF001 - the block's
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self._inside = None
        if self._outer is not None:
            self._step_out(self._outer)
            self._outer = None

    def _ring(self, number: int, frame: FrameType | None) -> None:
        """An alarm that hits the two methods above must not keep them from ending."""
        if frame is None or frame.f_globals is not globals():
            super()._ring(number, frame)
