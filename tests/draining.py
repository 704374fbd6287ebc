"""A queue in memory, and one who does what waits in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import caches

from django_q import results
from django_q.brokers import get_broker
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.execution import Runner

MEMORY = "django_q.brokers.memory.Memory"


@pytest.fixture
def memory(q_settings: Any) -> Iterator[str]:
    """The name of an empty queue in memory."""
    queue = f"q{uuid4().hex[:8]}"
    q_settings(broker_class=MEMORY, cluster_name=queue)
    caches["default"].clear()
    yield queue
    get_broker(queue).delete_queue()
    caches["default"].clear()


@pytest.fixture
def drain() -> Callable[..., int]:
    """Do everything that waits on the queues, as a cluster would; give the number."""

    def drain(*queues: str) -> int:
        done = 0
        runner = Runner(get_options())
        waiting = list(queues) or [get_options().queue]
        while waiting:
            broker = get_broker(waiting.pop())
            for delivery in broker.dequeue(100) or []:
                done += 1
                do(runner, delivery.package)
                broker.acknowledge(delivery.receipt or "")
                waiting.append(broker.list_key)
        runner.close()
        return done

    return drain


def do(runner: Runner, package: str) -> None:
    options = get_options()
    envelope = Envelope.open(package).served_by(options.queue)
    outcome, record = results.conclude(runner.execute(envelope), options)
    if record.keep:
        results.save([record], using=results.write_alias())
    if record.link:
        queue = get_broker(record.link_queue)
        queue.enqueue(record.link, task_id=record.link_id)
    results.finish(outcome, options)
