"""wait_for: the only polling loop of the API, and its twin for coroutines."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from numbers import Real
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from asgiref.sync import sync_to_async

from django_q.logs import print_safely

Found = TypeVar("Found")

LOOK_EVERY: Final = 0.01
"""Seconds between two looks."""


def wait_for(look: Callable[[], Found | None], wait_ms: float = 0) -> Found | None:
    """Look until something is found, for so many milliseconds at most.

    0 looks once; a negative number waits for ever. None when nothing came in time.
    Raises TypeError for what is no number.
    """
    _check(wait_ms)
    found = look()
    for pause in pauses(wait_ms):
        if found is not None:
            break
        sleep(pause)
        found = look()
    return found


async def wait_for_async(
    look: Callable[[], Found | None], wait_ms: float = 0
) -> Found | None:
    """The same for coroutines. `look` runs in the thread of Django's synchronous code,
    which others may use between two looks.
    """
    _check(wait_ms)
    found = await sync_to_async(look)()
    for pause in pauses(wait_ms):
        if found is not None:
            break
        await asyncio.sleep(pause)
        found = await sync_to_async(look)()
    return found


def _check(wait_ms: Any) -> None:
    if not isinstance(wait_ms, Real) or math.isnan(wait_ms):
        words = "a number of milliseconds, or a negative one to wait for ever"
        message = f"wait must be {words}, not {print_safely(wait_ms, repr)}."
        raise TypeError(message)


def pauses(wait_ms: float) -> Iterator[float]:
    """Seconds to sleep before each look after the first; ends when the time is up.

    The last pause ends with the time, so that there is a look at its very end.
    """
    deadline = monotonic() + wait_ms / 1000
    while wait_ms < 0 or (rest := deadline - monotonic()) > 0:
        yield LOOK_EVERY if wait_ms < 0 else min(LOOK_EVERY, rest)
