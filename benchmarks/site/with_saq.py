"""SAQ, without Django: it needs none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue

from benchmarks.site import body
from benchmarks.site.told import redis_url

queue = Queue.from_url(redis_url())


async def noop(_context: Any, *, a: int, b: int) -> int:
    return body.noop(a, b)


settings = {"queue": queue, "functions": [("noop", noop)], "concurrency": 10}


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    await queue.connect()
    yield
    await queue.disconnect()


async def one(a: int, b: int) -> None:
    await queue.enqueue("noop", a=a, b=b)
