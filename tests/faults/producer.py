"""A producer under load: `python -m tests.faults.producer`, told by its environment.

Writes a line for each task to the file of acknowledged ones, after async_task has returned:
its id and its word. What raised is not acknowledged, and its line begins with "error".
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final, NamedTuple

import django

HOUSE: Final = Path(__file__).resolve().parents[2]
NAME: Final = "QTEST_PRODUCER"


class Order(NamedTuple):
    """What is to be produced."""

    queue: str
    acknowledged: str
    """The file of those that were."""

    log: str
    """Where the tasks write."""

    seconds: float
    """How long each takes."""

    rate: float
    """How many are queued in a second."""

    limit: int
    """After so many it ends."""


def main() -> None:
    django.setup()
    order = Order(*json.loads(os.environ[NAME]))
    stop = Stop()
    from tests.faults.tasks import note  # noqa: PLC0415 - the apps are loaded now

    for number in at_rate(order, stop):
        note(order.acknowledged, produce(order, f"{os.getpid()}-{number}"))


def produce(order: Order, word: str) -> str:
    """Queue one task; gives what there is to say."""
    from django_q.tasks import async_task  # noqa: PLC0415

    arguments = (order.log, word, order.seconds)
    try:
        task_id = async_task("tests.faults.tasks.work", *arguments, cluster=order.queue)
    except Exception as error:  # noqa: BLE001 - whatever it is, the task is not acknowledged
        return f"error:{type(error).__name__}:{word}"
    return f"{task_id}:{word}"


def at_rate(order: Order, stop: Stop) -> Iterator[int]:
    """Numbers, each in its time, until it is enough."""
    begun = time.monotonic()
    for number in range(order.limit):
        ahead = begun + number / order.rate - time.monotonic()
        if stop.waits(max(0.0, ahead)):
            return
        yield number


@contextmanager
def producing(
    order: Order,
    cluster: Mapping[str, Any],
    environment: Mapping[str, str],
    said: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Such a producer runs meanwhile, for a cluster with these settings."""
    settings = {**cluster, "cluster_name": order.queue}
    told = {"QTEST_CLUSTER": json.dumps(settings), NAME: json.dumps(order)}
    producer = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.producer"],
        cwd=HOUSE,
        env={**os.environ, **environment, **told},
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
    )
    try:
        yield producer
    finally:
        producer.send_signal(signal.SIGTERM)
        producer.wait(30)


class Stop:
    """SIGTERM ends the production between two tasks."""

    def __init__(self) -> None:
        self.is_asked = False
        signal.signal(signal.SIGTERM, self.ask)

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        self.is_asked = True

    def waits(self, seconds: float) -> bool:
        """Wait; gives whether to stop."""
        if seconds and not self.is_asked:
            time.sleep(seconds)
        return self.is_asked


if __name__ == "__main__":
    main()
