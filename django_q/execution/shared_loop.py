"""SharedLoop: many coroutines at once, on one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, Self

from asgiref.sync import sync_to_async

from django_q.exceptions import TimeoutException
from django_q.execution.connections import tidy_connections
from django_q.execution.timeouts import AGAIN_EVERY, LONGEST, describe_limit
from django_q.logs import clean, logger
from django_q.optional import find_optional

TIDY_EVERY: Final = 0.05
"""Seconds between two looks at the database connections, while coroutines end."""

WIND_UP_ROUNDS: Final = 3
LEAVE_GRACE: Final = 2.0
"""Seconds that what still runs gets to end when the loop is closed."""

_begun: Final[ContextVar[set[asyncio.Task[Any]] | None]] = ContextVar(
    "begun", default=None
)
"""What the coroutine of this context has started beside itself."""


class SharedLoop:
    """Begins when the first coroutine comes. With uvloop, where it is installed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_untidy = False
        self._tidying: asyncio.Task[None] | None = None

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Let it run beside the others. It tells by itself when it has ended."""
        loop = self._running()
        loop.call_soon_threadsafe(loop.create_task, coroutine)

    def wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Its result, for a thread that has nothing else to do."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._running())
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """End the loop, and what still runs in it."""
        if self._loop is None or self._thread is None:
            return
        loop, thread = self._loop, self._thread
        loop.call_soon_threadsafe(loop.create_task, self._wind_up())
        thread.join(LEAVE_GRACE)
        self._loop = self._thread = None

    def tidy_soon(self) -> None:
        """A coroutine has ended: have its database connections looked after.

        Queries of all of them run in one thread, on its connections.
        """
        self._is_untidy = True
        if self._tidying is None or self._tidying.done():
            task = asyncio.get_running_loop().create_task(self._tidy())
            self._tidying = task

    async def _tidy(self) -> None:
        while self._is_untidy:
            self._is_untidy = False
            await sync_to_async(tidy_connections)()
            await asyncio.sleep(TIDY_EVERY)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = make_loop()
                self._loop.set_task_factory(make_task)
                arguments, name = (self._loop,), "django-q event loop"
                self._thread = threading.Thread(
                    target=run, args=arguments, name=name, daemon=True
                )
                self._thread.start()
            return self._loop

    async def _wind_up(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(WIND_UP_ROUNDS):
            # What ends may begin something, such as to look after its connections.
            await end(asyncio.all_tasks() - {asyncio.current_task()})
        await loop.shutdown_asyncgens()
        loop.stop()


class AsyncLimit:
    """`async with` it, for so many seconds: then what is awaited inside is cancelled, and
    once more every second, and if it ends by that, TimeoutException is raised.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._rings = 0
        self._alarm: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._seconds is not None and 0 < self._seconds < LONGEST:
            self._arm(self._seconds)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        for _ in range(self._rings):
            self._task.uncancel()  # type: ignore[union-attr]
        if (
            self._rings
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise TimeoutException(describe_limit(self._seconds or 0)) from error

    def _arm(self, seconds: float) -> None:
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._rings += 1
        self._task.cancel()  # type: ignore[union-attr]
        self._arm(AGAIN_EVERY)


async def end_strays() -> None:
    """End what the coroutine that calls this has begun beside itself: it would run on."""
    await end({task for task in _begun.get() or () if not task.done()})


def note_strays() -> None:
    """From now on, know what the coroutine that calls this begins beside itself."""
    _begun.set(set())


async def end(tasks: set[Any]) -> None:
    """Cancel them, and wait for that."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)


def make_loop() -> asyncio.AbstractEventLoop:
    uvloop = find_optional("uvloop")
    loop: asyncio.AbstractEventLoop = (uvloop or asyncio).new_event_loop()
    return loop


def make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any
) -> asyncio.Task[Any]:
    """Whoever begins a task is known by its context."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **how)
    begun = _begun.get()
    if begun is not None:
        begun.add(task)
        task.add_done_callback(begun.discard)
    return task


def run(loop: asyncio.AbstractEventLoop) -> None:
    """Until somebody stops it: what a stray task raises, such as SystemExit, does not."""
    is_broken = True
    while is_broken:
        try:
            loop.run_forever()
            is_broken = False
        except BaseException as error:  # noqa: BLE001 - users' code, on everybody's loop
            text = "the event loop went on after %s"
            logger.error(text, clean(f"{type(error).__name__}: {error}"))
    loop.close()
