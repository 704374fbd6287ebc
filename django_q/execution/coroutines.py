"""EventLoop: awaits what `async def` tasks return, on one loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from types import NoneType
from typing import Any, Final, NoReturn

from asgiref.sync import async_to_sync, sync_to_async

from django_q.exceptions import NotAtomic
from django_q.execution.connections import tidy_connections

PLAIN: Final = frozenset({NoneType, bool, int, float, str, bytes, tuple, list, dict})
"""What most tasks give, and nobody waits for."""


class EventLoop:
    """One event loop, made when the first coroutine comes, kept until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.Runner()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """The result of an awaitable. Raises what it raises."""
        try:
            return self._loop.run(_see_through(awaitable))
        except Exception:
            raise
        except BaseException:
            # It came out of the middle of the loop, which can't go on after that.
            self.close()
            raise

    def close(self) -> None:
        """End the loop and what still runs in it. The next coroutine gets a new one."""
        former, self._loop = self._loop, asyncio.Runner()
        former.close()


def run_inline(awaitable: Awaitable[Any]) -> Any:
    """The result of an awaitable, in a process that isn't ours.

    Its database queries use the connections of this thread, and so see what an open
    transaction, for example a test's, has written.
    """
    return async_to_sync(_result_of)(awaitable)


def refuse(awaitable: Awaitable[Any]) -> NoReturn:
    """Raises NotAtomic, before anything of a coroutine has run."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    message = "Coroutines can't run in a transaction: Django has none for them."
    hint = "Make it a plain function, or leave 'atomic' off for it (atomic=False)."
    raise NotAtomic(message, hint=hint)


def is_awaitable(value: object) -> bool:
    """Whether a task gave something to be waited for."""
    # What most tasks give is looked up in a sixth of the time.
    return type(value) not in PLAIN and inspect.isawaitable(value)


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _see_through(awaitable: Awaitable[Any]) -> Any:
    """Await it, and leave nothing behind that would run on inside the next task."""
    try:
        return await awaitable
    finally:
        await _end_stray_tasks()
        # Queries of coroutines run in a thread of their own, on its own connections.
        await sync_to_async(tidy_connections)()


async def _end_stray_tasks() -> None:
    stray = asyncio.all_tasks() - {asyncio.current_task()}
    for task in stray:
        task.cancel()
    await asyncio.gather(*stray, return_exceptions=True)
