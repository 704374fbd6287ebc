"""taskiq, with the broker of taskiq-redis that acknowledges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.site import body
from benchmarks.site.told import redis_url

broker = RedisStreamBroker(url=redis_url()).with_result_backend(
    RedisAsyncResultBackend(redis_url=redis_url(1), result_ex_time=600)
)


@broker.task(task_name="noop")
async def noop(a: int, b: int) -> int:
    return body.noop(a, b)


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


async def one(a: int, b: int) -> None:
    await noop.kiq(a, b)
