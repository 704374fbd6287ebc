"""TimeLimit: the soft timeout, an exception raised inside what takes too long."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol, TypeGuard

from django_q.exceptions import TimeoutException
from django_q.logs import logger

AGAIN_EVERY: Final = 1.0
"""Seconds after which the exception comes again: one that is raised inside __del__ or
caught by a bare `except:` is lost, and an alarm that rings just before a system call
begins does not interrupt it. The task would run without any limit."""

SHORTEST: Final = 0.0001
LONGEST: Final = 10 * 365 * 24 * 3600.0
"""Seconds. The timer can't hold much more, and nobody can tell the difference."""


class Limit(Protocol):
    """Calls functions for so long."""

    def call(self, seconds: float | None, func: Callable[..., Any], *args: Any) -> Any:
        """`func(*args)`; raises TimeoutException inside it when it takes too long."""


class Outer(NamedTuple):
    """The alarm as it was found."""

    handler: Any
    rest: float
    interval: float
    began: float


class TimeLimit:
    """Calls functions, and raises TimeoutException inside those that take too long.

    Works in the main thread of systems that have SIGALRM; elsewhere there is no limit,
    and the log says so at DEBUG.
    """

    def __init__(self, *, owns_process: bool = False) -> None:
        """`owns_process`: the signal handler stays, which is cheaper.

        Otherwise handler and timer are put back as they were found, after each call.
        """
        has_alarm = owns_process and _can_alarm()
        self._owned = threading.get_ident() if has_alarm else None
        """The thread whose alarm is ours alone."""
        self._handler = self._ring
        self._inside: FrameType | None = None
        self._deadline = 0.0
        self._seconds = 0.0

    def call(self, seconds: float | None, func: Callable[..., Any], *args: Any) -> Any:
        """`func(*args)`, within so many seconds; None, 0 and less: without a limit."""
        if threading.get_ident() != self._owned or not _has_end(seconds):
            return self._call_as_guest(seconds, func, *args)
        # A task may have put a handler of its own in the place of ours.
        if signal.getsignal(signal.SIGALRM) is not self._handler:
            signal.signal(signal.SIGALRM, self._handler)
        try:
            return self._call(seconds, func, *args)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._inside = None

    def _call_as_guest(
        self, seconds: float | None, func: Callable[..., Any], *args: Any
    ) -> Any:
        if not is_limit(seconds):
            return func(*args)
        outer = self._step_in()
        try:
            return self._call(seconds, func, *args)
        finally:
            self._step_out(outer)

    def _step_in(self) -> Outer:
        """Somebody else's process: another limit may be running outside of this one."""
        rest, interval = signal.setitimer(signal.ITIMER_REAL, 0)
        handler = signal.signal(signal.SIGALRM, self._handler)
        return Outer(handler, rest, interval, monotonic())

    def _step_out(self, outer: Outer) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._inside = None
        # None: it was not set by Python, and Python can't set it again.
        if outer.handler is not None:
            signal.signal(signal.SIGALRM, outer.handler)
        if outer.rest:
            rest = max(SHORTEST, outer.rest - (monotonic() - outer.began))
            signal.setitimer(signal.ITIMER_REAL, rest, outer.interval)

    def _call(self, seconds: float, func: Callable[..., Any], *args: Any) -> Any:
        """The frame inside which, and only inside which, the exception is raised."""
        self._inside = sys._getframe()  # noqa: SLF001 - the one way to know a frame
        self._arm(seconds)
        return func(*args)

    def _arm(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = monotonic() + seconds
        signal.setitimer(signal.ITIMER_REAL, max(SHORTEST, seconds), AGAIN_EVERY)

    def _ring(self, _number: int, frame: FrameType | None) -> None:
        """SIGALRM. It may come late: between the end of the call and the disarming.

        So a flag is not enough to tell whether the call still runs: between its end and
        the clearing of the flag, the exception would hit our own code. A frame leaves
        the stack in the same instant in which the call ends.
        """
        if monotonic() < self._deadline or not _is_within(self._inside, frame):
            return
        raise TimeoutException(describe_limit(self._seconds))


def describe_limit(seconds: float) -> str:
    """What TimeoutException says."""
    return f"Task exceeded maximum timeout value ({seconds:g} seconds)"


def _has_end(seconds: float | None) -> TypeGuard[float]:
    """Whether this is a limit: some seconds, and not for ever."""
    return seconds is not None and 0 < seconds < LONGEST


def is_limit(seconds: float | None) -> TypeGuard[float]:
    """Whether a call is to be limited to so many seconds, and can be here."""
    if not _has_end(seconds):
        return False
    if _can_alarm():
        return True
    logger.debug("no time limit: only the main thread of POSIX systems has one")
    return False


def _is_within(outer: FrameType | None, frame: FrameType | None) -> bool:
    """Whether one frame was called, at whatever depth, from the other."""
    while frame is not None:
        if frame is outer:
            return True
        frame = frame.f_back
    return False


def _can_alarm() -> bool:
    if not hasattr(signal, "setitimer"):
        return False
    return threading.current_thread() is threading.main_thread()
