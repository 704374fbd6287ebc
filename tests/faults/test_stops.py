"""Rows 13 to 18: clusters that are asked to stop, at any moment."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from django_q.cluster.sentinel import INTERRUPTED
from django_q.models import Task
from tests.acceptance.functions import block_in_c
from tests.acceptance.moments import MOMENTS
from tests.faults.bench import Bench
from tests.functions import words
from tests.waiting import wait_until

row = pytest.mark.row

LONG = 60
"""Seconds: `retry` of these clusters. What waits for a lease to end comes too late."""


@row(13, "SIGTERM in load")
def test_row_13_sigterm_in_load(bench: Bench) -> None:
    cluster = bench.start(retry=LONG)
    with bench.load(rate=100, count=100):
        cluster.terminate()
        assert cluster.wait_for_end() == 0
        assert_all_went_back(bench)
        bench.start(retry=LONG)
    assert bench.count().twice == 0
    assert cluster.says(r"INFO .* stopping: \d tasks running, \d+ fetched go back")
    assert cluster.says(r"INFO .* has stopped: \d s, .* 0 lost")


@row(14, "SIGTERM twice")
def test_row_14_sigterm_twice(bench: Bench) -> None:
    cluster = bench.start(retry=LONG)
    with bench.load(count=60):
        bench.send("long", task="outlast_a_stop")
        bench.send("short", seconds=1)
        wait_until(lambda: {"long", "short"} <= set(bench.started()))
        cluster.terminate()
        wait_until(lambda: cluster.says("stopping"))
        cluster.terminate()
        assert cluster.wait_for_end() == INTERRUPTED
        assert_all_went_back(bench, but=frozenset({"long"}))
        bench.start(retry=LONG)
    assert bench.count().twice == 0
    assert bench.started()["short"] == 1
    assert cluster.says("WARNING Second signal: grace cut to 5 s")
    assert cluster.says("WARNING .* did not end in the grace; killed, requeued")


@row(15, "SIGTERM to all processes")
def test_row_15_sigterm_to_all_processes(bench: Bench) -> None:
    cluster = bench.start(retry=LONG)
    with bench.load(rate=100, count=100):
        for member in cluster.members():
            member.terminate()
        assert cluster.wait_for_end() == 0
        assert_all_went_back(bench)
        bench.start(retry=LONG)
    assert bench.count().twice == 0
    assert cluster.says(r"INFO .* has stopped: \d s, .* 0 lost")
    assert not cluster.says("died by signal")


@row(16, "SIGTERM during the start")
def test_row_16_sigterm_during_the_start(bench: Bench) -> None:
    bench.start(retry=LONG)
    with bench.load(rate=10):
        for moment in MOMENTS:
            cluster = bench.start(wait=False, retry=LONG)
            wait_until(partial(moment, cluster), 30, every=0.001)
            cluster.terminate()
            # Before its handlers are there, the signal ends it as any other program.
            assert cluster.wait_for_end(within=8) in (0, -signal.SIGTERM)
            cluster.complain_if_it_complained()
    # What SQS sends to a process that is just ending comes back after `retry`.
    within = LONG + 30 if bench.place.kind == "sqs" else 30
    assert bench.count(within).twice == 0


@row(17, "SIGTERM with a wedged task")
def test_row_17_sigterm_with_a_wedged_task(bench: Bench) -> None:
    cluster = bench.start(retry=LONG, timeout_grace=1, stop_timeout=4)
    overdue = cluster.send(block_in_c, bench.log, "overdue", timeout=1)
    bench.send("wedged", task="wedge")
    wait_until(lambda: {"overdue", "start:wedged"} <= set(words(bench.log)))
    cluster.terminate()
    assert cluster.wait_for_end(within=11) == INTERRUPTED
    assert not Task.objects.get(id=overdue).success
    bench.start(retry=LONG, timeout_grace=1)
    assert bench.count().twice == 0
    assert words(bench.log).count("overdue") == 1
    assert cluster.says(r"ERROR .*block_in_c .* exceeded .*; worker killed")
    assert cluster.says(
        r"WARNING .*wedge .* did not end in the grace; killed, requeued"
    )


@pytest.mark.core
@row(18, "rolling deploy")
def test_row_18_rolling_deploy(bench: Bench) -> None:
    # What SQS sends in the moment in which a cluster ends is nobody's for so long.
    retry = LONG if bench.place.keeps_lists else LONG / 4
    old = bench.start(retry=retry)
    with bench.load(rate=10):
        for version in range(3):
            new = bench.start(retry=retry)
            for number in range(50):
                bench.send(f"{version}-{number}", 0.005)
            old.terminate()
            assert old.wait_for_end() == 0
            old = new
    assert bench.count().twice == 0
    assert not any(cluster.says("rescued") for cluster in bench.clusters)
    assert set(bench.started().values()) == {1}


def assert_all_went_back(bench: Bench, but: frozenset[str] = frozenset()) -> None:
    """What ran has ended, but for what was cut off, and nobody holds anything."""
    assert set(bench.started()) - set(bench.ended()) == but
    # One that is queued while they are counted looks as if it were held; nobody gives back
    # now what is.
    wait_until(lambda: not bench.held())
