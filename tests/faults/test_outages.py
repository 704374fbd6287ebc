"""Rows 31 to 40 and 53: broker, network, database and disk are away, slow or full."""

from __future__ import annotations

import json
import os
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
from django.db import Error, connection

from django_q.brokers import get_broker
from django_q.cluster.working import MOST_KEPT
from django_q.exceptions import BrokerError
from tests.acceptance.harness import RunningCluster
from tests.faults.bench import BOUND, RATE, SECONDS, WORKERS, Bench
from tests.faults.outages import (
    Disk,
    frozen,
    killed,
    locked,
    mended_afterwards,
    out_of_reach,
    partition,
    slowed_down,
    small_disk_for,
    stopped,
)
from tests.waiting import wait_until

row = pytest.mark.row
on = pytest.mark.on
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")

AWAY = r"WARNING.*can't use the broker \(.*Trying again in"
BACK = r"INFO.*the broker works again, after [\d.]+ s"
RESULTS_WAIT = r"WARNING.*\d+ results wait for the \w+ \(.*Trying again in"
RESULTS_SAVED = r"INFO.*results are saved again, after [\d.]+ s"
SILENT = r"WARNING.*(broker|database) was silent for [\d.]+ s"
MOST_BEHIND = int(3 * RATE)
"""Tasks that wait at most while a database is slow: what comes in three seconds."""

FENCED = "lease lost|came late|rescued"

BACKLOG = 500
"""Short tasks, which all wait before the first of them is done."""

MOST_UNSAVED = WORKERS * MOST_KEPT
"""Results that a cluster remembers at most."""


@row(31, "broker killed, back after 3 s")
@on("redis", "orm-pg", "orm-mariadb", "sqs")
def test_row_31_broker_killed_and_back_after_3_s(bench: Bench) -> None:
    cluster = bench.start()
    with bench.load():
        with killed(bench.place):
            wait_until_refused(bench)
            sleep(3)
        wait_until_it_works(bench)
    assert_never_twice(bench)
    assert_told(cluster, AWAY, BACK)


@row(32, "broker restarted in order")
@on("redis", "orm-pg", "orm-mariadb")
def test_row_32_broker_restarted_in_order(bench: Bench) -> None:
    cluster = bench.start()
    with bench.load():
        assert bench.place.server is not None
        with stopped(bench.place.server):
            wait_until_refused(bench)
        wait_until_it_works(bench)
    assert_never_twice(bench)
    assert_told(cluster, AWAY, BACK)


@row(33, "broker frozen 10 s")
@on("redis", "orm-pg", "orm-mariadb", "sqs")
def test_row_33_broker_frozen_for_10_s(bench: Bench) -> None:
    clusters = [bench.start(), bench.start()]
    with bench.load():
        assert bench.place.server is not None
        with frozen(bench.place.server):
            sleep(10)
        wait_until_it_works(bench)
    assert_never_twice(bench)
    told = [cluster.says(f"{AWAY}|{SILENT}") for cluster in clusters]
    # Who has nothing to do lets SQS wait with its answer, and so does not notice.
    assert any(told) if bench.place.kind == "sqs" else all(told)


@pytest.mark.core
@row(34, "connections reset")
@on("redis", "orm-pg", "orm-mariadb", "sqs")
def test_row_34_connections_reset(bench: Bench) -> None:
    cluster = bench.start()
    with bench.load():
        for _ in range(6):
            for network in bench.place.networks:
                network.reset()
            bench.wait_until_ended(len(bench.ended()) + 5)
        wait_until_it_works(bench)
    assert_never_twice(bench)
    assert not cluster.lines("rescued")

    # A pair for each reset that met a question; clients of Redis and SQS ask once more
    # by themselves, and nobody has to be told.
    def all_who_lost_it_are_back() -> bool:
        """Who asks seldom finds out late."""
        return cluster.count(BACK) == cluster.count(AWAY)

    wait_until(all_who_lost_it_are_back)
    assert cluster.count(AWAY) or not bench.place.shares_database


@row(35, "partition 10 s")
@on("redis", "orm-pg", "orm-mariadb", "sqs")
def test_row_35_partition_of_10_s(bench: Bench) -> None:
    cluster = bench.start()
    with bench.load():
        with partition(bench.place):
            running = set(bench.started())
            sleep(10)
            assert running <= set(bench.ended())
        wait_until_it_works(bench)
    assert_never_twice(bench)
    assert cluster.says(f"{AWAY}|{SILENT}")


@row(36, "half-open connections")
@on("redis", "orm-pg", "orm-mariadb", "sqs")
def test_row_36_half_open_connections(bench: Bench) -> None:
    far = bench.place.far
    if "sqs" in far:
        # Longer than this its answer is not waited for, and ten seconds more.
        waits = {"receive_message_wait_time_seconds": 2}
        far = {**far, "sqs": far["sqs"] | waits}
    cluster = bench.start(**far)
    with mended_afterwards(bench.place.networks):
        with bench.load(count=40, rate=100, seconds=0.1) as producer:
            producer.wait(20)
            for network in bench.place.networks:
                network.strand()
            bench.wait_for_recovery(within=20)
        wait_until(lambda: bench.held() == 0, within=20)
        # Who waits for work has a question open: it is never answered.
        for network in bench.place.networks:
            network.strand()
        bench.send("afterwards")
        bench.wait_for_recovery(within=20)
    assert_never_twice(bench)
    assert cluster.says(f"{AWAY}|{SILENT}|{RESULTS_WAIT}"), cluster.log[-4000:]


@row(37, "slow network")
@on("redis", "orm-pg", "orm-mariadb", "sqs")
def test_row_37_slow_network(bench: Bench) -> None:
    clusters = [bench.start(), bench.start()]
    with slowed_down(bench.place, 0.05):
        with bench.load():
            sleep(8)
            wait_until_it_works(bench, within=10)
        for cluster in clusters:
            assert cluster.stop() == 0
        asked = questions_for_a_backlog(bench)
    assert_never_twice(bench)
    for cluster in clusters:
        assert not cluster.lines(FENCED)
    bench.figures.note = f"{asked} questions for {BACKLOG} tasks"
    # One by one, each would take three: to fetch it, to save it, to remove it.
    assert asked < BACKLOG


@row(38, "results database down 10 s")
@on("redis", "orm-pg", "orm-mariadb")
def test_row_38_results_database_down_for_10_s(bench: Bench) -> None:
    cluster = bench.start(recycle=10 * MOST_KEPT)
    # Where the queue is cut off too, what runs at that moment is all there is to save.
    seconds = SECONDS if bench.place.shares_database else 0.0
    with bench.load(rate=120, seconds=seconds):
        with out_of_reach(bench.place.database_network):
            sleep(10)
            without_row = len(bench.acknowledged()) - bench.rows()
            assert cluster.left() >= without_row
            if not bench.place.shares_database:
                # There is more to do, and nobody begins it.
                wait_until(lambda: cluster.left() > 1.1 * MOST_UNSAVED, 20)
                wait_until(lambda: begun_and_unsaved(bench) > 0.9 * MOST_UNSAVED, 20)
            assert 0 < begun_and_unsaved(bench) <= MOST_UNSAVED
        wait_until_it_works(bench)
    assert_never_twice(bench)
    assert_told(cluster, RESULTS_WAIT, RESULTS_SAVED)


@row(39, "SQLite locked 10 s by another writer")
@on("orm-sqlite", "sqs")
def test_row_39_sqlite_locked_for_10_s(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Django's own timeout: that of other tests is longer than ten seconds.
    options = {**connection.settings_dict["OPTIONS"], "timeout": 5}
    usual = json.dumps({"OPTIONS": options})
    monkeypatch.setitem(bench.place.environment, "QTEST_FAULTS", usual)
    cluster = bench.start()
    with bench.load():
        with locked(Path(connection.settings_dict["NAME"])):
            sleep(10)
            unsaved = len(bench.ended()) - bench.rows()
            assert unsaved > 0
            assert cluster.left() >= unsaved
        wait_until_it_works(bench)
    assert_never_twice(bench)
    assert_told(cluster, RESULTS_WAIT, RESULTS_SAVED)


@as_root
@row(40, "disk full: queue")
@on("redis", "orm-pg", "orm-sqlite", "orm-mariadb")
def test_row_40_disk_of_the_queue_is_full(bench: Bench) -> None:
    with small_disk_for(bench.place.server) as disk:
        fill_while_it_works(bench, disk, refuses=True)


@as_root
@row(40, "disk full: results")
@on("redis", "sqs")
def test_row_40_disk_of_the_results_is_full(bench: Bench) -> None:
    with small_disk_for(bench.place.database) as disk:
        fill_while_it_works(bench, disk, refuses=False)


@as_root
@row(40, "disk full: log")
def test_row_40_disk_of_the_log_is_full(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with Disk(log) as disk:
        bench.start(log=log)
        with bench.load(seconds=0.02):
            with disk.full():
                before = log.stat().st_size
                bench.wait_until_ended(len(bench.ended()) + 20)
                assert log.stat().st_size - before < 4096
            before = log.stat().st_size
            wait_until(lambda: log.stat().st_size > before)
            wait_until_it_works(bench)
        assert_never_twice(bench)
        bench.stop()


@row(53, "slow database, 200 ms per query")
@on("redis", "orm-pg", "orm-mariadb")
def test_row_53_slow_database(bench: Bench) -> None:
    cluster = bench.start(timeout=3, retry=10)
    with bench.load(), slowed_down(bench.place, 0.1):
        sleep(8)
        assert count_waiting(bench) <= MOST_BEHIND
        wait_until_it_works(bench, within=10)
    assert_never_twice(bench)
    assert not cluster.lines(f"{FENCED}|exceeded|died")


def fill_while_it_works(bench: Bench, disk: Disk, *, refuses: bool) -> None:
    """Whoever can't write is told; what ended waits until there is space."""
    cluster = bench.start()
    try:
        with bench.load(seconds=0.02):
            with disk.full():
                if refuses:
                    use_up_the_rest(bench)
                wait_until(lambda: says_so_or_is_idle(bench, cluster), 30)
            # With what was queued while results waited, which is much on slow machines.
            wait_until_it_works(bench, within=15)
        assert_never_twice(bench)
    finally:
        bench.stop()


def begun_and_unsaved(bench: Bench) -> int:
    return len(bench.started()) - bench.rows()


def questions_for_a_backlog(bench: Bench) -> int:
    """How often a new cluster asks anybody anything until many short tasks are done."""
    for number in range(BACKLOG):
        bench.send(f"short{number}", 0.0)

    def asked() -> int:
        return sum(network.asked for network in bench.place.networks)

    before = asked()
    bench.start(wait=False)
    bench.count()
    return asked() - before


def wait_until_refused(bench: Bench, within: float = 10) -> None:
    """Producers get an error, not silence."""
    before = bench.refused()
    wait_until(lambda: bench.refused() > before, within)


def says_so_or_is_idle(bench: Bench, cluster: RunningCluster) -> bool:
    """Perhaps all that was queued had ended, and there was room for that."""
    is_idle = bench.rows() == len(bench.acknowledged())
    return is_idle or cluster.says(f"{AWAY}|{RESULTS_WAIT}")


def use_up_the_rest(bench: Bench) -> None:
    """A database has room in files that it has already: queue packages elsewhere until
    those of the producers find none.
    """
    before = bench.refused()
    with closing(get_broker(f"filler-{bench.folder.name}"[:60])) as elsewhere:

        def one_is_refused() -> bool:
            with suppress(Error, BrokerError):
                elsewhere.enqueue("x" * 2000)
            return bench.refused() > before

        wait_until(one_is_refused, within=30, every=0.01)


def wait_until_it_works(bench: Bench, within: float = 5) -> None:
    """What was queued before has run, and so has something that was queued since."""
    begun = monotonic()
    bench.wait_for_recovery(within)
    rest = within + bench.place.slack - (monotonic() - begun)
    bench.wait_until_ended(len(bench.ended()) + 5, rest)
    bench.figures.recovery = round(monotonic() - begun, 2)


def count_waiting(bench: Bench) -> int:
    """What is queued and has not ended."""
    return len(bench.acknowledged()) - len(bench.ended())


def assert_told(cluster: RunningCluster, away: str, back: str) -> None:
    """One line when it began, one when it was over, and none in between."""
    said = f"{cluster.count(away)} and {cluster.count(back)}:\n{cluster.log[-4000:]}"
    assert cluster.count(away) == cluster.count(back) == 1, said


def assert_never_twice(bench: Bench) -> None:
    """SQS alone gives a task to somebody else when its time is over."""
    allowed = 0 if bench.place.keeps_lists else BOUND
    assert bench.count().twice <= allowed
