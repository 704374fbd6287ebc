"""RQ, through django-rq."""

from __future__ import annotations

import django_rq
from rq import Queue

from benchmarks.site import body

queue = django_rq.get_queue("default")


def one(a: int, b: int) -> None:
    queue.enqueue(body.noop, a, b)


def bulk(pairs: list[tuple[int, int]]) -> None:
    queue.enqueue_many([Queue.prepare_data(body.noop, args=pair) for pair in pairs])
