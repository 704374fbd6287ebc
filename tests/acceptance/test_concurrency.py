"""A worker with many tasks at once: they overlap, and the harm of one is its own."""

from __future__ import annotations

import signal

import pytest

from django_q.models import Attempt
from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import wait_until

CLUSTER = {"workers": 1, "concurrency": 8, "timeout": 60, "timeout_grace": 1}
MINUTE = 60.0


def send_eight(cluster: RunningCluster, diary: Diary) -> list[str]:
    """Plain functions and coroutines that begin, and wait for a word to end."""
    kinds = [harmful.wait_for_go, harmful.wait_for_go_later] * 4
    return [cluster.send(kind, diary.path, f"w{n}") for n, kind in enumerate(kinds)]


@pytest.mark.every_database
def test_all_that_a_killed_worker_had_begun_runs_again(
    cluster: RunningCluster, diary: Diary
) -> None:
    """And they overlap: all have begun, and none has ended."""
    again = "starts again, delivery 2 of 3"
    before = cluster.count(again)
    ids = send_eight(cluster, diary)
    diary.wait_until_begun(8)
    ids += cluster.send_many(3, functions.log_and_sleep, diary.path, 0.0)
    cluster.kill("worker", signal.SIGKILL)
    functions.log(diary.path, "go")
    rows = cluster.wait_for_all(ids, within=60)
    assert all(row.success for row in rows)
    assert dict(diary.of("start")) == {f"w{n}": 2 + (n < 3) for n in range(8)}
    assert cluster.count(again) - before == 8
    assert cluster.says(r"ERROR.*worker .* died .* while running 8 tasks; replaced")


@pytest.mark.every_database
def test_atomic_tasks_have_a_connection_each(cluster: RunningCluster) -> None:
    """And coroutines can't be atomic."""
    good = [cluster.send(functions.add, n, atomic=True) for n in range(12)]
    bad = cluster.send(functions.add_later, 1, atomic=True)
    rows = cluster.wait_for_all([*good, bad])
    assert [row.result for row in rows[:-1]] == list(range(12))
    assert not rows[-1].success
    assert "NotAtomic" in rows[-1].result


def test_culprit_ends_alone(cluster: RunningCluster, diary: Diary) -> None:
    """Those beside it are lost with it at most twice, never for good."""
    good = send_eight(cluster, diary)[:7]
    diary.wait_until_begun(8)
    bad = cluster.send(harmful.kill_worker, diary.path)
    functions.log(diary.path, "go")
    assert not cluster.wait_for(bad, within=60).success
    assert all(row.success for row in cluster.wait_for_all(good, within=60))


def test_timeout_of_a_coroutine_is_its_own(
    cluster: RunningCluster, diary: Diary
) -> None:
    pids = cluster.pids("worker")
    others = send_eight(cluster, diary)[:7]
    diary.wait_until_begun(8)
    functions.log(diary.path, "go")
    cluster.wait_for_all(others)
    held = cluster.send(harmful.wait_for_go_later, diary.path + "x", "held")
    Diary(diary.path + "x").wait_until_begun()
    late = cluster.send("tests.acceptance.functions.sleep_later", MINUTE, timeout=0.3)
    wait_until(lambda: cluster.says(r"sleep_later \[.*(timed out|failed)"))
    functions.log(diary.path + "x", "go")
    row, other = cluster.wait_for_all([late, held])
    assert (row.success, other.success) == (False, True)
    assert "0.3 seconds" in row.result
    assert cluster.pids("worker") == pids


def test_thread_that_holds_on_to_life_is_killed_and_nobody_else_is_blamed(
    cluster: RunningCluster, diary: Diary
) -> None:
    other = cluster.send(harmful.wait_for_go, diary.path, "other")
    diary.wait_until_begun()
    late = cluster.send(functions.swallow, MINUTE, timeout=0.3)
    wait_until(lambda: diary.of("start").total() == 2)
    functions.log(diary.path, "go")
    row, innocent = cluster.wait_for_all([late, other], within=60)
    assert (row.success, innocent.success) == (False, True)
    assert "limit" in row.result
    assert cluster.says(r"wait_for_go \[.*starts again: Its worker was killed for an")
    assert cluster.says(r"ERROR.*functions\.swallow \[.*exceeded .* worker killed")
    assert not Attempt.objects.filter(task_id=innocent.id).exists()


def test_stop_lets_all_end_that_run(running_cluster: Runner, diary: Diary) -> None:
    cluster = running_cluster(**CLUSTER)
    send_eight(cluster, diary)
    diary.wait_until_begun(8)
    behind = cluster.send_many(3, functions.log_and_sleep, diary.path, 0.0)
    cluster.terminate()
    wait_until(lambda: cluster.says("stopping: 8 tasks running"))
    functions.log(diary.path, "go")
    assert cluster.wait_for_end() == 0
    assert dict(diary.of("end")) == {f"w{n}": 1 for n in range(8)}
    assert cluster.left() == len(behind)


def test_a_thousand_coroutines_overlap_on_one_worker(running_cluster: Runner) -> None:
    cluster = running_cluster(workers=1, concurrency=1000, recycle=0)
    ids = [cluster.send(harmful.meet_later, f"w{n}", 1000) for n in range(1000)]
    rows = cluster.wait_for_all(ids, within=90)
    assert {row.result for row in rows} == {1000}
    assert {row.attempt_count for row in rows} == {1}
