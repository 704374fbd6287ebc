"""Rows 1 to 11: processes and machines that die or stand still."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.faults.bench import BOUND, WORKERS, Bench
from tests.faults.places import LEASE

row = pytest.mark.row

LONG_LEASE = 30
FEW_LONG_ONES: dict[str, Any] = {"count": 16, "seconds": 0.5, "rate": 50.0}
"""When the fault comes, at least two of them run, and no backlog is to be worked off."""


@pytest.mark.core
@row(1, "worker killed in a task")
def test_row_01_worker_killed_in_a_task(bench: Bench) -> None:
    cluster = bench.start()
    with bench.load():
        pid = cluster.kill("worker")
        bench.wait_for_recovery(within=3)
    assert bench.count().twice <= WORKERS
    assert cluster.says(rf"ERROR.*worker .*{pid}.* died by signal 9")


@row(2, "idle workers killed")
def test_row_02_idle_workers_killed(bench: Bench) -> None:
    cluster = bench.start()
    for worker in cluster.pids("worker"):
        cluster.send_signal(worker, signal.SIGKILL)
    with bench.load(count=20):
        bench.wait_for_recovery(within=3)
    assert bench.count().twice == 0
    assert cluster.count(r"ERROR.*worker .* died by signal 9") == WORKERS


@row(3, "pusher killed in load")
def test_row_03_pusher_killed_in_load(bench: Bench) -> None:
    cluster = bench.start()
    with bench.load():
        cluster.kill("pusher")
        bench.wait_for_recovery(within=3)
    assert bench.count().twice <= BOUND
    assert cluster.says("pusher.*(died|ended)")


@pytest.mark.core
@row(9, "machine crash")
def test_row_09_machine_crash(bench: Bench) -> None:
    first = bench.start()
    with bench.load():
        first.kill_everything()
        second = bench.start(host="another")
        bench.wait_for_recovery(within=LEASE + 5)
    assert bench.count().twice <= BOUND
    if bench.place.keeps_lists:
        assert second.says("WARNING.*rescued")


@pytest.mark.core
@row(9, "cluster killed, started again on its host")
def test_row_09_cluster_killed_and_started_again_on_its_host(bench: Bench) -> None:
    # Where the queue keeps no lists there is only the visibility timeout.
    lease = LONG_LEASE if bench.place.keeps_lists else LEASE
    first = bench.start(retry=lease)
    with bench.load(**FEW_LONG_ONES):
        first.kill_everything()
        second = bench.start(retry=lease)
        bench.wait_for_recovery(within=3)
    assert bench.count().twice <= BOUND
    if bench.place.keeps_lists:
        assert second.says(r"WARNING rescued \d+ tasks of dead cluster")


@row(9, "cluster killed, another one lives on its host")
def test_row_09_cluster_killed_while_another_one_lives_on_its_host(
    bench: Bench,
) -> None:
    lease = LONG_LEASE if bench.place.keeps_lists else LEASE
    first, second = bench.start(retry=lease), bench.start(retry=lease)
    with bench.load(**FEW_LONG_ONES):
        first.kill_everything()
        bench.wait_for_recovery(within=5)
    assert bench.count().twice <= BOUND
    if bench.place.keeps_lists:
        assert second.says(r"WARNING rescued \d+ tasks of dead cluster")
