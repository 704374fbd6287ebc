"""ConcurrentRunner: executes many envelopes at once, in threads and on an event loop."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from time import monotonic
from typing import Any

from asgiref.sync import sync_to_async

from django_q.envelope import Envelope
from django_q.exceptions import TaskNotFound
from django_q.execution.connections import tidy_connections
from django_q.execution.coroutines import is_awaitable
from django_q.execution.runner import Run, Runner
from django_q.execution.shared_loop import (
    AsyncLimit,
    SharedLoop,
    end_strays,
    note_strays,
)
from django_q.execution.threads import ThreadLimit
from django_q.options import Options
from django_q.outcome import Outcome
from django_q.signals import announce, post_execute_in_worker, pre_execute


class ConcurrentRunner(Runner):
    """Runs tasks side by side: `execute` in any thread, `execute_async` on the loop."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._limit = self._thread_limit = ThreadLimit()
        self.loop = SharedLoop()

    def close(self) -> None:
        super().close()
        self._thread_limit.close()
        self.loop.close()

    def is_coroutine(self, envelope: Envelope) -> bool:
        """Whether its function is an `async def`, as far as that can be seen."""
        try:
            func = self._find(envelope.func)
        except BaseException:  # noqa: BLE001 - it will be raised again, and told then
            return False
        call = func if inspect.isroutine(func) else getattr(func, "__call__", func)  # noqa: B004
        return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(call)

    async def execute_async(self, envelope: Envelope, *, attempt: int = 1) -> Outcome:
        """Run a task whose function is a coroutine's. Whatever it does, there is an
        outcome.
        """
        run = Run(envelope, attempt, monotonic(), awaits=True)
        try:
            value = await self._perform_async(run)
            outcome = self._outcome_of(run, success=True, result=value)
        except BaseException as error:  # noqa: BLE001 - tasks raise anything at all
            # Error reporters look for a local variable of this name in the frames.
            task = run.task  # noqa: F841
            failure = await aside(self._reporter, self._failure, error)
            outcome = self._outcome_of(run, **failure)
        listens = pre_execute.receivers or post_execute_in_worker.receivers
        if listens:
            outcome = await sync_to_async(self._announce_end)(outcome, run)
        self.loop.tidy_soon()
        return outcome

    def broken(
        self, envelope: Envelope, error: BaseException, *, attempt: int = 1
    ) -> Outcome:
        """The outcome of a run whose own was lost: its limit came just after its end."""
        run = Run(envelope, attempt, monotonic(), awaits=False)
        return self._outcome_of(run, **self._failure(error))

    def tidy(self) -> None:
        """Look after the connections of this thread, in which no task runs."""
        tidy_connections()

    async def _perform_async(self, run: Run) -> Any:
        """As `_perform`; what it begins beside itself ends with it."""
        note_strays()
        async with AsyncLimit(self.limit_of(run.envelope)):
            try:
                return await self._call(run)
            finally:
                await end_strays()

    async def _call(self, run: Run) -> Any:
        listens = pre_execute.receivers
        try:
            func = run.func = self._find(run.envelope.func)
        except TaskNotFound:
            await aside(listens, announce, pre_execute, func=None, task=run.task)
            raise
        if run.envelope.undecided_options:
            run.envelope = run.envelope.decided_for(func)
        args, kwargs = run.envelope.args, run.envelope.kwargs
        if listens:
            await sync_to_async(announce)(pre_execute, func=func, task=run.task)
            args, kwargs = run.task["args"], run.task["kwargs"]
        value = func(*args, **kwargs)
        return await value if is_awaitable(value) else value

    def _wait_for(self, awaitable: Any) -> Any:
        """What a plain function gave: its thread waits for that."""
        return self.loop.wait_for(result_of(awaitable))


async def aside(is_needed: object, func: Any, /, *args: Any, **kwargs: Any) -> Any:
    """Call what is no coroutine; where it may ask a database, or take long, in the thread
    where coroutines have their queries.
    """
    if is_needed:
        return await sync_to_async(func)(*args, **kwargs)
    return func(*args, **kwargs)


async def result_of(awaitable: Awaitable[Any]) -> Any:
    try:
        note_strays()
        return await awaitable
    finally:
        await end_strays()
