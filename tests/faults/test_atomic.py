"""Atomic tasks: transfers between accounts, while everything dies around them.

QTEST_TRANSFERS   how many, see tests/faults/transfers.py
"""

from __future__ import annotations

import itertools
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
from tests.settings import DATABASES
from tests.waiting import wait_until

COUNT: Final = int(os.environ.get("QTEST_TRANSFERS", "130"))
RECORD: Final = os.environ.get("QTEST_TRANSFERS_RECORD")
LEASE: Final = 1.0
PAUSE: Final = 6 * LEASE
"""Seconds, at most, that a cluster stands still: the other takes over what it held."""

MOST: Final = max(2.0, COUNT / 2000)
"""Seconds between two faults, at most."""

FAULTS: Final = ("all", "worker", "pause", "monitor", "pusher", "worker")
"""One after the other, again and again."""

NETWORK: Final = "reset"
STEP: Final = max(30, COUNT // 100)
"""Between two faults, fewer transfers than this are done."""

REST: Final = 40
"""Of so many transfers nobody is disturbed any more."""

UNSAVED: Final = 3
"""Every third leaves no row: whether it has happened, only the queue can tell."""

LONG: Final = 5.0
"""Seconds, twice: longer than the lease, and than anybody waits for SQLite's lock here."""

WAITING: Final = 4
"""Pusher, monitor, housekeeper and the other worker: each says it once."""

PATIENCE: Final = 60 + COUNT / 8
"""Seconds for all of it; far more than it takes."""

pytestmark = pytest.mark.on("orm-pg", "orm-mariadb", "orm-sqlite")


@pytest.fixture
def accounts(bench: Bench) -> Iterator[None]:
    """After the bench: its clusters end before the tables do."""
    with opened_accounts():
        yield
        bench.stop()


@pytest.mark.core
@pytest.mark.usefixtures("accounts")
def test_each_transfer_happens_exactly_once_whatever_dies(bench: Bench) -> None:
    begun = monotonic()
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    harm = Harm(bench, random.Random(seed))
    orders = queue_transfers(bench.queue, harm.dice)
    harm.go_on_until_all_is_done()
    figures = count(bench, orders)
    record(bench, harm, figures, monotonic() - begun)
    assert figures["sum"] == ACCOUNTS * START
    assert figures["not once"] == {}
    assert figures["left"] == 0
    assert figures["rows"] == figures["entries"] - len(range(0, COUNT, UNSAVED))
    assert figures["failed"] == 0


@pytest.mark.on("orm-sqlite")
@pytest.mark.usefixtures("accounts")
def test_others_wait_while_a_long_task_has_all_of_sqlite(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**DATABASES["default"]["OPTIONS"], "timeout": 2}
    changed = json.dumps({"OPTIONS": options})
    monkeypatch.setitem(bench.place.environment, "QTEST_FAULTS", changed)
    cluster = bench.start(retry=LEASE, timeout=60)
    options = {"atomic": True, "cluster": bench.queue}
    long = ("tests.faults.accounts.transfer", "long", 1, 2, 5, LONG)
    async_task(*long, q_options=options)
    for number in range(20):
        async_task("tests.faults.accounts.note", f"short {number}", q_options=options)
    wait_until(lambda: not cluster.left(), 60)
    rows = Task.objects.filter(cluster=bench.queue)
    assert rows.filter(success=True).count() == 21
    assert Entry.objects.count() == 21
    assert not cluster.says("ERROR|Traceback")
    assert cluster.count("WARNING .*database is locked") <= WAITING


def queue_transfers(queue: str, dice: random.Random) -> dict[str, str]:
    """Word -> id. Some tell others, some are followed by another link of a chain."""
    ids = {}
    options = {"atomic": True, "cluster": queue, "retry_delay": 0.05}
    options |= {"max_attempts": 10_000, "max_deliveries": 10_000}
    for number in range(COUNT):
        word = f"w{number}"
        source, target = dice.sample(range(1, ACCOUNTS + 1), 2)
        pause = dice.choice([0, 0, 0.01, 0.03])
        func = "transfer" if number % 10 else "transfer_and_tell"
        link = ("tests.faults.accounts.note", (f"{word} next",), dict(options))
        more: dict[str, Any] = {"save": bool(number % UNSAVED)}
        more |= {"chain": [link]} if number % 10 == 5 else {}
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

    def go_on_until_all_is_done(self) -> None:
        faults = [*FAULTS]
        if self.bench.place.queue_network is not None:
            faults.insert(self.dice.randrange(len(faults)), NETWORK)
        for fault in itertools.cycle(faults):
            if self.left() <= REST:
                break
            # Processes that are missing just now are not there to be killed.
            with suppress(AssertionError, ProcessLookupError):
                self.bring(fault, self.dice.choice(self.running))
                self.done[fault] += 1
            self.go_on_for_a_while()
        wait_until(self.all_is_done, PATIENCE)

    def go_on_for_a_while(self, few: int = STEP // 2) -> None:
        """However slow the machine is, some are done between two faults."""
        goal = Entry.objects.count() + self.dice.randrange(few, 2 * few)
        until = monotonic() + MOST
        while Entry.objects.count() < goal and monotonic() < until:
            sleep(0.02)

    def left(self) -> int:
        connection.close_if_unusable_or_obsolete()
        return self.running[0].left()

    def all_is_done(self) -> bool:
        return not self.left() and Entry.objects.count() >= len(expected())

    def bring(self, fault: str, cluster: RunningCluster) -> None:
        if fault == "all":
            self.running.remove(cluster)
            self.running.append(self.start())
            # Nobody acknowledges for the workers: what they have committed must be done.
            with suppress(AssertionError, ProcessLookupError):
                cluster.kill("monitor", signal.SIGSTOP)
            self.go_on_for_a_while()
            cluster.kill_everything()
        elif fault == "pause":
            with cluster.paused():
                self.wait_for_rescue()
        elif fault == NETWORK:
            network = self.bench.place.queue_network
            assert network is not None
            network.reset()
        else:
            pid = self.dice.choice(cluster.pids(fault))
            cluster.send_signal(pid, signal.SIGKILL)

    def wait_for_rescue(self) -> None:
        """The other one takes over what it can, and begins it. Of SQLite, nothing: the lock
        may be with the one that stands still.
        """
        before = self.rescues()
        until = monotonic() + (PAUSE if self.bench.place.queue_network else LEASE)
        while self.rescues() == before and monotonic() < until:
            sleep(0.05)
        self.go_on_for_a_while(few=2)

    def rescues(self) -> int:
        return sum(cluster.count("rescued") for cluster in self.running)


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
