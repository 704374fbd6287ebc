"""A task that runs too long ends, softly or by force, and leaves exactly one row."""

from __future__ import annotations

import signal
from time import monotonic

import pytest

from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import wait_until

CLUSTER = {"timeout": 30, "timeout_grace": 1}


@pytest.mark.every_database
@pytest.mark.parametrize("limit", [0.3, 1])
def test_long_task_is_ended_softly_and_its_worker_lives(
    cluster: RunningCluster, limit: float
) -> None:
    workers = cluster.pids("worker")
    begun = monotonic()
    row = cluster.wait_for(cluster.send(functions.sleep, 30, timeout=limit))
    assert limit <= monotonic() - begun < limit + 2
    assert not row.success
    assert f"{limit:g}" in row.result
    assert row.attempt_count == 1
    cluster.works()
    assert cluster.pids("worker") == workers


def test_limit_of_the_cluster_holds_for_tasks_without_one(
    running_cluster: Runner,
) -> None:
    cluster = running_cluster(timeout=0.5)
    row = cluster.wait_for(cluster.send(functions.sleep, 30))
    assert not row.success
    row = cluster.wait_for(cluster.send(functions.sleep, 1, timeout=5))
    assert row.success


def test_busy_loop_is_ended_softly(cluster: RunningCluster) -> None:
    workers = cluster.pids("worker")
    row = cluster.wait_for(cluster.send(functions.spin, 30, timeout=0.3))
    assert not row.success
    assert cluster.pids("worker") == workers


def test_async_task_is_ended_softly(cluster: RunningCluster) -> None:
    task = "tests.acceptance.functions.sleep_later"
    row = cluster.wait_for(cluster.send(task, 30, timeout=0.3))
    assert not row.success


def test_task_that_swallows_the_first_exception_gets_another(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(timeout_grace=20)
    workers = cluster.pids("worker")
    task_id = cluster.send(harmful.swallow_once, diary.path, timeout=0.3)
    row = cluster.wait_for(task_id)
    assert not row.success
    assert functions.words(diary.path) == ["swallowed"]
    assert cluster.pids("worker") == workers


def test_task_that_swallows_everything_is_killed(cluster: RunningCluster) -> None:
    workers = cluster.pids("worker")
    begun = monotonic()
    row = cluster.wait_for(cluster.send(functions.swallow, 60, timeout=0.5))
    assert monotonic() - begun < 0.5 + 1 + 3
    assert not row.success
    assert "limit" in row.result
    wait_until(cluster.is_whole)
    assert cluster.pids("worker") != workers
    assert cluster.says(r"ERROR.*functions\.swallow \[.*exceeded .* worker killed")


@pytest.mark.every_database
def test_task_stuck_in_c_is_killed_and_not_repeated(
    cluster: RunningCluster, diary: Diary
) -> None:
    task_id = cluster.send(harmful.block_in_c, diary.path, timeout=0.5)
    neighbours = [cluster.send(functions.add, 1, n) for n in range(10)]
    row = cluster.wait_for(task_id)
    assert not row.success
    assert row.func == "tests.acceptance.functions.block_in_c"
    assert row.args[0] == diary.path
    rows = cluster.wait_for_all(neighbours)
    assert [row.result for row in rows] == [1 + n for n in range(10)]
    assert {row.attempt_count for row in rows} == {1}
    assert functions.words(diary.path) == ["ran"]


def test_worker_that_is_stopped_in_a_task_is_killed(
    cluster: RunningCluster, diary: Diary
) -> None:
    options = {"timeout": 0.5}
    arguments = (diary.path, "long", 30)
    task_id = cluster.send(functions.log_and_sleep, *arguments, **options)
    diary.wait_until_begun()
    worker = harmful.pids(diary.path)[0]
    cluster.send_signal(worker, signal.SIGSTOP)
    row = cluster.wait_for(task_id, within=10)
    assert not row.success
    wait_until(cluster.is_whole)
    assert worker not in cluster.pids("worker")
    assert diary.of("start") == {"long": 1}


def test_task_that_ends_at_its_limit_leaves_one_row(cluster: RunningCluster) -> None:
    workers = cluster.pids("worker")
    ids = [cluster.send(functions.sleep, 0.05, timeout=0.05) for _ in range(40)]
    ids += [cluster.send(functions.sleep, 0.049, timeout=0.05) for _ in range(40)]
    rows = cluster.wait_for_all(ids)
    assert {row.attempt_count for row in rows} == {1}
    cluster.works()
    assert cluster.pids("worker") == workers


def test_timed_out_task_is_repeated_if_it_has_attempts_left(
    cluster: RunningCluster, diary: Diary
) -> None:
    options = {"timeout": 0.3, "max_attempts": 2, "retry_delay": 0.1}
    arguments = (diary.path, "slow", 30)
    task_id = cluster.send(functions.log_and_sleep, *arguments, **options)
    row = cluster.wait_for(task_id)
    assert (row.success, row.attempt_count) == (False, 2)
    assert diary.of("start") == {"slow": 2}


def test_paused_cluster_does_not_kill_healthy_tasks(running_cluster: Runner) -> None:
    """The whole machine stands still for longer than the limit and the grace."""
    cluster = running_cluster(timeout_grace=1, retry=30)
    task_id = cluster.send(functions.sleep, 1.5, timeout=2)
    wait_until(lambda: cluster.says("▶ tests.functions.sleep"))
    workers = cluster.pids("worker")
    with cluster.paused() as since:
        wait_until(lambda: monotonic() - since > 4)
    row = cluster.wait_for(task_id)
    cluster.works()
    assert cluster.pids("worker") == workers
    # Its own timer rang as soon as it woke: that is the soft end, or its success.
    assert row.attempt_count == 1
