"""Threads: what is no coroutine runs side by side, each call within its time limit."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final

from django_q.exceptions import TimeoutException
from django_q.execution.timeouts import AGAIN_EVERY, LONGEST, describe_limit
from django_q.logs import logger

LONGEST_WAIT: Final = 3600.0
"""Seconds; no thread waits longer for anything that may never come."""


class Threads:
    """Threads that are started when they are needed, and kept. One thread owns them:
    only there may they be given work, and told that it is done.
    """

    def __init__(self, most: int, name: str = "django-q task") -> None:
        self._most = most
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.busy = 0

    @property
    def has_room(self) -> bool:
        return self.busy < self._most

    def start(self, job: Callable[[], None]) -> None:
        """Do it as soon as a thread is free. It tells by itself when it has ended."""
        self.busy += 1
        if self.busy > len(self._threads) and len(self._threads) < self._most:
            # Daemons: who is killed for what one of them does must be able to leave.
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def ended(self) -> None:
        """One job less is under way."""
        self.busy -= 1

    def close(self) -> None:
        """Let those leave that have nothing to do."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get()
                if job is None:
                    return
                # Nothing that a task sets in its context is there for the next one.
                Context().run(job)
            except BaseException:  # noqa: BLE001 - a thread serves until it is told to end
                logger.exception("a thread went on after this")


class Watch:
    """One call that has a limit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.due = monotonic() + seconds
        self.thread = threading.get_ident()
        self.is_over = False
        self.has_rung = False

    def ring(self) -> None:
        """Raise TimeoutException in the thread, unless the call is over.

        No other thread gets its turn between the question and the deed: both are steps
        at which Python does not look whether one should.
        """
        self.due, number = monotonic() + AGAIN_EVERY, ctypes.c_ulong(self.thread)
        late, interrupt = ctypes.py_object(TimeoutException), _interrupt()
        self.has_rung = True
        if not self.is_over:
            interrupt(number, late)

    def end(self) -> None:
        """Call back what was raised and has not arrived."""
        _interrupt()(ctypes.c_ulong(self.thread), None)


class ThreadLimit:
    """Calls functions in any thread, and raises TimeoutException inside those that take
    too long: between two steps of Python. What waits inside the system, such as `sleep`,
    hears of it afterwards.
    """

    def __init__(self) -> None:
        self._calls: dict[int, Watch] = {}
        """Thread -> the last call in it that had a limit."""
        self._planned = inf
        """When the next look is due; a call that is due before has to say so."""
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._watcher: threading.Thread | None = None
        self._starting = threading.Lock()

    def call(self, seconds: float | None, func: Callable[..., Any], *args: Any) -> Any:
        """`func(*args)`, within so many seconds; None, 0 and less: without a limit."""
        if seconds is None or not 0 < seconds < LONGEST:
            return func(*args)
        self._start_watching()
        watch = Watch(seconds)
        try:
            return self._call(watch, func, *args)
        except TimeoutException as error:
            if watch.has_rung and not error.args:
                error.args = (describe_limit(seconds),)
            raise

    def close(self) -> None:
        """Watch no longer."""
        if self._watcher is not None:
            self._wake.put(False)
            self._watcher.join(1.0)

    def _call(self, watch: Watch, func: Callable[..., Any], *args: Any) -> Any:
        try:
            self._calls[watch.thread] = watch
            if watch.due < self._planned:
                self._wake.put(True)
            return func(*args)
        finally:
            # First of all, and without calling anything, for it may ring in there.
            watch.is_over = True
            watch.end()

    def _start_watching(self) -> None:
        if self._watcher is not None:
            return
        with self._starting:
            if self._watcher is None:
                name = "django-q time limits"
                watcher = threading.Thread(target=self._watch, name=name, daemon=True)
                watcher.start()
                self._watcher = watcher

    def _watch(self) -> None:
        is_wanted = True
        while is_wanted:
            # Whoever comes while we look does not know whether we see him: he calls.
            self._planned = inf
            soonest = self._ring_late()
            self._planned = soonest
            rest = max(0.0, min(soonest - monotonic(), LONGEST_WAIT))
            with suppress(Empty):
                is_wanted = self._wake.get(timeout=rest)

    def _ring_late(self) -> float:
        """Gives when the next call is late."""
        soonest = inf
        for watch in list(self._calls.values()):
            if watch.is_over:
                continue
            if watch.due <= monotonic():
                watch.ring()
            soonest = min(soonest, watch.due)
        return soonest


def _interrupt() -> Any:
    """Raises an exception in another thread: CPython's own way, and the only one."""
    return ctypes.pythonapi.PyThreadState_SetAsyncExc
