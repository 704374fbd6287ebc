"""Dramatiq, without Django: it needs none."""

from __future__ import annotations

from typing import Final

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.site import body
from benchmarks.site.told import OPTIONS, redis_url

STORES: Final = OPTIONS.get("results") != "none"

broker = RedisBroker(url=redis_url())
if STORES:
    broker.add_middleware(Results(backend=RedisBackend(url=redis_url(1))))
dramatiq.set_broker(broker)


@dramatiq.actor(**({"store_results": True} if STORES else {}))
def noop(a: int, b: int) -> int | None:
    result = body.noop(a, b)
    # What an actor returns without a place for it, it warns of.
    return result if STORES else None


def one(a: int, b: int) -> None:
    noop.send(a, b)
