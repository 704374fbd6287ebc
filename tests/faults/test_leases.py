"""Rows 41, 42, 55 and 56: leases that are shorter than what they are for, slow claims, and
what a cluster can do without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Final
from uuid import uuid4

import pytest
from django.db import connections

from django_q.brokers import get_broker
from django_q.brokers.base import Consignment
from tests.aliases import added_database
from tests.faults.bench import BOUND, WORKERS, Bench
from tests.faults.places import LEASE
from tests.waiting import wait_until

row = pytest.mark.row

LONGER: Final = 3.0 * LEASE
"""Seconds: a task that `retry` is far too short for."""

CLAIMED: Final = {"orm-pg": 4000, "orm-mariadb": 2000}
"""Packages. In MariaDB claims grow slower with each that was done beside the transaction."""

AT_ONCE: Final = 10

LEVEL: Final = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
}


@row(41, "retry shorter than the task")
def test_row_41_retry_shorter_than_the_task(bench: Bench) -> None:
    one, _other = bench.start(), bench.start()
    for number in range(3):
        bench.send(f"long{number}", LONGER)
    bench.wait_until_ended(3)
    assert set(bench.started().values()) == {1}
    assert bench.count().twice == 0
    assert one.says(f"INFO .* retry {LEASE} s, renewed while running")


@row(42, "waits in the local queue beyond retry")
def test_row_42_waits_in_the_local_queue_beyond_retry(bench: Bench) -> None:
    one = bench.start()
    for number in range(WORKERS):
        bench.send(f"long{number}", LONGER)
    wait_until(lambda: len(bench.started()) == WORKERS)
    for number in range(WORKERS):
        bench.send(f"short{number}")

    def everything_is_in_the_cluster() -> bool:
        return bench.held() == 2 * WORKERS

    wait_until(everything_is_in_the_cluster)
    other = bench.start()
    bench.wait_until_ended(2 * WORKERS)
    assert bench.count().twice == 0
    assert set(bench.started().values()) == {1}
    assert one.count("waited [3-9]") == WORKERS
    assert not other.says("rescued")


@pytest.mark.on("orm-pg", "orm-mariadb")
@row(55, "long transaction beside the queue")
def test_row_55_long_transaction_beside_the_queue(bench: Bench) -> None:
    """How long claims take is a matter of the machine; how much longer, of the broker."""
    alone = slowest_claims(bench)
    with long_transaction():
        beside = slowest_claims(bench)
    times = beside / alone
    milliseconds = f"{alone * 1000:.1f} -> {beside * 1000:.1f} ms"
    bench.figures.note = f"claims {milliseconds} (p95), {times:.1f} x"
    assert bench.figures.is_whole
    assert times < 5, bench.figures.note


def slowest_claims(bench: Bench) -> float:
    """Claim and acknowledge many packages; gives the seconds that 95 of 100 claims took
    at most.
    """
    broker, count = get_broker(bench.queue), CLAIMED[bench.place.kind]
    broker.enlist(uuid4().hex, 30)
    broker.enqueue_many([Consignment("x" * 300, bench.queue)] * count)
    taken: list[float] = []
    claimed: set[str] = set()
    while len(claimed) < count:
        begun = perf_counter()
        deliveries = broker.dequeue(AT_ONCE) or []
        taken.append(perf_counter() - begun)
        receipts = [str(delivery.receipt) for delivery in deliveries]
        assert broker.acknowledge_many(receipts) == set(receipts)
        assert not claimed & set(receipts)
        claimed |= set(receipts)
    bench.figures.acknowledged += count
    bench.figures.executed += len(claimed)
    bench.figures.rows += len(claimed)
    bench.figures.left += broker.queue_size() + broker.lock_size()
    return quantiles(taken, n=20)[-1]


@contextmanager
def long_transaction() -> Iterator[None]:
    """Somebody has read once, and has not ended yet."""
    with added_database() as alias, connections[alias].cursor() as cursor:
        vendor = connections[alias].vendor
        cursor.execute(LEVEL[vendor])
        cursor.execute("BEGIN")
        cursor.execute("SELECT COUNT(*) FROM django_q_ormq")
        yield
        cursor.execute("ROLLBACK")


@row(56, "no process titles, no psutil; another Redis")
def test_row_56_no_process_titles_no_psutil_another_redis(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REDIS_SERVER in the environment names the program of the other one."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for missing in ("psutil", "setproctitle"):
        text = f"raise ImportError('there is no {missing}')"
        (tmp_path / f"{missing}.py").write_text(text)
    cluster = bench.start()
    cluster.complaints = "CRITICAL.*(sentinel|parent gone)|no psutil"
    with bench.load(rate=5):
        for role in ("worker", "pusher", "monitor", "sentinel"):
            cluster.kill(role)
            wait_until(cluster.is_whole, within=30)
    assert bench.count().twice <= 4 * BOUND
    failure = cluster.wait_for(cluster.send("psutil.cpu_count"))
    assert "there is no psutil" in failure.result
    titles = [" ".join(member.cmdline()) for member in cluster.members()]
    assert not any(title.startswith("qcluster") for title in titles)
