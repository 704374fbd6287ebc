"""Producers and consumers of one queue, as processes of their own.

produce QUEUE COUNT   enqueues so many packages, half of them at once
consume QUEUE         acknowledges what it takes, and says it
hoard QUEUE           takes some and does nothing with them
"""

from __future__ import annotations

import os
import sys
import time
import uuid

from django_q.brokers import Broker, Consignment, get_broker

LEASE = 1.0

START = "import django; django.setup(); import tests.crowd; tests.crowd.main()"
"""The program of such a process; its arguments follow."""


def produce(queue: str, count: str = "0") -> None:
    broker = get_broker(queue)
    names = [f"{os.getpid()}-{number}" for number in range(int(count))]
    half = len(names) // 2
    for name in names[:half]:
        broker.enqueue(name, task_id=uuid.uuid4().hex)
    broker.enqueue_many([Consignment(n, queue, uuid.uuid4().hex) for n in names[half:]])


def enlisted(queue: str) -> Broker:
    broker = get_broker(queue)
    broker.enlist(uuid.uuid4().hex, LEASE)
    return broker


def consume(queue: str) -> None:
    broker = enlisted(queue)
    while True:
        taken = {d.receipt: d.package for d in broker.dequeue(8) or []}
        for receipt in broker.acknowledge_many([str(receipt) for receipt in taken]):
            say(taken[receipt])
        if not taken:
            broker.rescue()
            time.sleep(0.01)


def hoard(queue: str) -> None:
    broker = enlisted(queue)
    while not broker.dequeue(20):
        time.sleep(0.01)
    say("holding")
    time.sleep(600)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    role, *words = sys.argv[1:]
    {"produce": produce, "consume": consume, "hoard": hoard}[role](*words)
