"""Atomic tasks: transfers between accounts, while everything dies around them.

QTEST_TRANSFERS   how many, see tests/faults/transfers.py
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import pytest
from django.db import connection
from django.db.models import Sum

from django_q.models import Task
from django_q.tasks import async_task
from tests.acceptance.harness import RunningCluster
from tests.faults.accounts import ACCOUNTS, START, Account, Entry, opened_accounts
from tests.faults.bench import WORKERS, Bench
from tests.waiting import wait_until

COUNT: Final = int(os.environ.get("QTEST_TRANSFERS", "150"))
RECORD: Final = os.environ.get("QTEST_TRANSFERS_RECORD")
FAULTS: Final = ("worker", "worker", "worker", "pusher", "monitor", "all", "pause")
NETWORK: Final = ("reset",)
LEASE: Final = 1.0
PATIENCE: Final = 60 + COUNT / 8
"""Seconds for all of it; far more than it takes."""

pytestmark = pytest.mark.on("orm-pg", "orm-mariadb", "orm-sqlite")


@pytest.fixture
def accounts(bench: Bench) -> Iterator[None]:
    """After the bench: its clusters end before the tables do."""
    with opened_accounts():
        yield
        for cluster in bench.clusters:
            cluster.destroy()


@pytest.mark.core
@pytest.mark.usefixtures("accounts")
def test_each_transfer_happens_exactly_once_whatever_dies(bench: Bench) -> None:
    begun = monotonic()
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    harm = Harm(bench, random.Random(seed))
    orders = queue_transfers(bench.queue, harm.dice)
    harm.go_on_until_all_is_done(orders)
    figures = count(bench, orders)
    record(bench, harm, figures, monotonic() - begun)
    assert figures["sum"] == ACCOUNTS * START
    assert figures["not once"] == {}
    assert figures["left"] == 0
    assert figures["rows"] == figures["entries"]
    assert figures["failed"] == 0


def queue_transfers(queue: str, dice: random.Random) -> dict[str, str]:
    """Word -> id. Some tell others, some are followed by another link of a chain."""
    ids = {}
    options = {"atomic": True, "cluster": queue, "retry_delay": 0.05}
    options |= {"max_attempts": 10_000, "max_deliveries": 10_000}
    for number in range(COUNT):
        word = f"w{number}"
        source, target = dice.sample(range(1, ACCOUNTS + 1), 2)
        pause = dice.choice([0, 0, 0, 0, 0.005, 0.02])
        func = "transfer" if number % 10 else "transfer_and_tell"
        link = ("tests.faults.accounts.note", (f"{word} next",), dict(options))
        more: dict[str, Any] = {"chain": [link]} if number % 10 == 5 else {}
        arguments = (word, source, target, dice.randrange(1, 50), pause)
        path = f"tests.faults.accounts.{func}"
        ids[word] = async_task(path, *arguments, q_options=options | more)
    return ids


def expected() -> set[str]:
    words = {f"w{number}" for number in range(COUNT)}
    words |= {f"w{number} told" for number in range(0, COUNT, 10)}
    return words | {f"w{number} next" for number in range(5, COUNT, 10)}


class Harm:
    """Two clusters, and what is done to them."""

    def __init__(self, bench: Bench, dice: random.Random) -> None:
        self.bench = bench
        self.dice = dice
        self.done: Counter[str] = Counter()
        self.running = [self.start(), self.start()]
        for cluster in self.running:
            cluster.wait_until_running()

    def start(self) -> RunningCluster:
        cluster = self.bench.start(wait=False, retry=LEASE, workers=WORKERS, timeout=20)
        cluster.complaints = "CRITICAL|Traceback|ResourceWarning"
        return cluster

    def go_on_until_all_is_done(self, orders: dict[str, str]) -> None:
        until = monotonic() + PATIENCE
        while not self.all_is_done(orders) and monotonic() < until:
            self.do_something()
            sleep(self.dice.uniform(0.1, 0.5))
        wait_until(lambda: self.all_is_done(orders), 30)

    def all_is_done(self, orders: dict[str, str]) -> bool:
        connection.close_if_unusable_or_obsolete()
        return Entry.objects.count() >= len(expected()) and not self.running[0].left()

    def do_something(self) -> None:
        faults = FAULTS + (NETWORK if self.bench.place.queue_network else ())
        fault = self.dice.choice(faults)
        cluster = self.dice.choice(self.running)
        with suppress(AssertionError, ProcessLookupError):
            self._bring(fault, cluster)
            self.done[fault] += 1

    def _bring(self, fault: str, cluster: RunningCluster) -> None:
        if fault == "all":
            self.running.remove(cluster)
            self.running.append(self.start())
            cluster.kill_everything()
        elif fault == "pause":
            with cluster.paused():
                sleep(self.dice.uniform(0.2, 2 * LEASE))
        elif fault == "reset":
            network = self.bench.place.queue_network
            assert network is not None
            network.reset()
        else:
            pid = self.dice.choice(cluster.pids(fault))
            cluster.send_signal(pid, signal.SIGKILL)


def count(bench: Bench, orders: dict[str, str]) -> dict[str, Any]:
    words: Counter[str] = Counter(Entry.objects.values_list("word", flat=True))
    wrong = {word: times for word, times in words.items() if times != 1}
    wrong |= dict.fromkeys(expected() - words.keys(), 0)
    rows = Task.objects.filter(cluster=bench.queue)
    return {
        "transfers": len(orders),
        "entries": words.total(),
        "not once": wrong,
        "sum": Account.objects.aggregate(sum=Sum("balance"))["sum"],
        "rows": rows.count(),
        "failed": rows.filter(success=False).count(),
        "left": bench.clusters[-1].left(),
    }


def record(bench: Bench, harm: Harm, figures: dict[str, Any], took: float) -> None:
    """For the program that counts more of them."""
    said = [cluster.log for cluster in bench.clusters]
    facts = {
        "broker": bench.place.kind,
        **figures,
        "seconds": round(took),
        "faults": dict(harm.done),
        "deadlocks": sum(log.lower().count("deadlock") for log in said),
        "starts cut off": sum(log.count("starts again") for log in said),
    }
    print(facts)  # noqa: T201 - shown when the test fails
    if RECORD:
        with Path(RECORD).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")
