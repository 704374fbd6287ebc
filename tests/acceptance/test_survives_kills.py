"""Every role, killed or terminated, idle or busy: nothing is lost, the cluster lives."""

from __future__ import annotations

import re
import signal
from time import monotonic

import psutil
import pytest

from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import wait_until

CLUSTER = {"workers": 2, "retry": 3}
LEASE = 3
COMPLAINTS = r"CRITICAL.*(sentinel ended|parent gone)"

CHILDREN = ("worker", "pusher", "monitor", "housekeeper", "sentinel")
SIGNALS = (signal.SIGTERM, signal.SIGKILL)

TASKS = 16
BOUND = 2 * CLUSTER["workers"]
"""A crash may repeat so many tasks that had ended."""

REPEATED = (
    r"WARNING .*?(\d+) tasks (?:had ended, but were not recorded|had no recorded end)"
)


def announced(log: str) -> int:
    """How many repetitions of tasks that may have ended the log owns up to."""
    return sum(int(number) for number in re.findall(REPEATED, log))


@pytest.mark.every_database
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("role", CHILDREN)
def test_idle_role_is_hit_and_the_cluster_works(
    cluster: RunningCluster, role: str, number: signal.Signals
) -> None:
    wait_until(cluster.is_whole)
    hit = cluster.kill(role, number)
    cluster.works(within=5)
    wait_until(cluster.is_whole)
    assert (hit in cluster.pids(role)) == (number == signal.SIGTERM)
    cluster.works(within=2)


@pytest.mark.every_database
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("role", CHILDREN)
def test_busy_role_is_hit_and_nothing_is_lost(
    cluster: RunningCluster, diary: Diary, role: str, number: signal.Signals
) -> None:
    wait_until(cluster.is_whole)
    said = len(cluster.log)
    ids = cluster.send_many(TASKS, functions.log_and_sleep, diary.path, 0.1)
    diary.wait_until_begun(3)
    hit = cluster.kill(role, number)
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == TASKS
    extra = diary.extra_ends()
    assert extra <= (BOUND if number == signal.SIGKILL else 0)
    assert extra <= announced(cluster.log[said:])
    wait_until(cluster.is_whole)
    assert (hit in cluster.pids(role)) == (number == signal.SIGTERM)
    cluster.works(within=5)


def test_killed_worker_is_named_and_its_task_runs_again(
    cluster: RunningCluster, diary: Diary
) -> None:
    wait_until(cluster.is_whole)
    arguments = (diary.path, "long", 0.7)
    task_id = cluster.send(functions.log_and_sleep, *arguments)
    diary.wait_until_begun()
    worker = harmful.pids(diary.path)[0]
    cluster.send_signal(worker, signal.SIGKILL)
    begun = monotonic()
    row = cluster.wait_for(task_id)
    assert monotonic() - begun < 3 + 0.7
    assert row.success
    assert diary.of("start") == {"long": 2}
    assert cluster.says(
        rf"ERROR.*worker .*{worker}.* died by signal 9 .*while running tests.*log_and_sleep \["
    )
    assert cluster.says(r"WARNING.*log_and_sleep \[.*\].*delivery 2 of 3")


def test_all_workers_are_killed_at_once(cluster: RunningCluster, diary: Diary) -> None:
    wait_until(cluster.is_whole)
    ids = cluster.send_many(TASKS, functions.log_and_sleep, diary.path, 0.1)
    diary.wait_until_begun(3)
    for worker in cluster.pids("worker"):
        cluster.send_signal(worker, signal.SIGKILL)
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    wait_until(cluster.is_whole)


@pytest.mark.every_database
def test_pusher_monitor_and_worker_are_killed_at_once(
    cluster: RunningCluster, diary: Diary
) -> None:
    wait_until(cluster.is_whole)
    ids = cluster.send_many(4 * TASKS, functions.log_and_sleep, diary.path, 0.02)
    diary.wait_until_begun(5)
    for pid in [cluster.pids(role)[0] for role in ("worker", "monitor", "pusher")]:
        cluster.send_signal(pid, signal.SIGKILL)
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == len(ids)
    assert diary.extra_ends() <= 3 * BOUND
    wait_until(cluster.is_whole)


@pytest.mark.every_database
@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("role", ["root", "sentinel and root"])
def test_killed_root_takes_everybody_along_and_a_new_cluster_goes_on(
    running_cluster: Runner, diary: Diary, role: str, is_busy: bool
) -> None:
    cluster = running_cluster(**CLUSTER)
    cluster.complaints = COMPLAINTS
    count = TASKS if is_busy else 0
    ids = cluster.send_many(count, functions.log_and_sleep, diary.path, 0.1)
    diary.wait_until_begun(min(3, count))
    for name in role.split(" and "):
        cluster.kill(name)
    cluster.process.wait(15)
    cluster.wait_until_gone(within=12)
    successor = running_cluster(**CLUSTER, cluster_name=cluster.queue)
    rows = successor.wait_for_all(ids, within=LEASE + 20)
    assert all(row.success for row in rows)
    assert diary.extra_ends() <= BOUND
    successor.works()


def test_terminated_root_stops_the_cluster_and_a_new_one_goes_on(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(**CLUSTER)
    ids = cluster.send_many(TASKS, functions.log_and_sleep, diary.path, 0.1)
    diary.wait_until_begun(3)
    assert cluster.stop() == 0
    successor = running_cluster(**CLUSTER, cluster_name=cluster.queue)
    rows = successor.wait_for_all(ids, within=5)
    assert all(row.success for row in rows)
    assert set(diary.of("start").values()) == {1}


def test_orphans_of_a_killed_root_end_even_if_stuck_in_c(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(**CLUSTER)
    cluster.send(harmful.block_in_c, diary.path)
    wait_until(lambda: functions.words(diary.path))
    worker = psutil.Process(harmful.pids(diary.path)[0])
    before = worker.cpu_times().user
    wait_until(lambda: worker.cpu_times().user > before + 0.2)
    cluster.kill("root")
    cluster.process.wait(5)
    cluster.wait_until_gone(within=8)


@pytest.mark.once
def test_worker_in_a_long_task_ends_though_nobody_is_left_to_end_it(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(**CLUSTER)
    cluster.complaints = COMPLAINTS
    cluster.send(functions.log_and_sleep, diary.path, "long", 60)
    diary.wait_until_begun()
    for role in ("sentinel", "root"):
        cluster.kill(role)
    cluster.process.wait(5)
    cluster.wait_until_gone(within=8)


def test_sentinel_that_is_stopped_does_not_stop_the_tasks(
    cluster: RunningCluster, diary: Diary
) -> None:
    """It only watches: no task passes through it."""
    wait_until(cluster.is_whole)
    with cluster.stopped("sentinel"):
        ids = cluster.send_many(TASKS, functions.log_and_sleep, diary.path, 0.01)
        cluster.wait_for_all(ids, within=5)
    wait_until(cluster.is_whole)
