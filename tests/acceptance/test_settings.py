"""Settings and options of the command that change what a cluster does."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from django_q.models import Task
from django_q.status import Stat
from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import stays, wait_until

LIMITS: list[dict[str, Any]] = [
    {},
    {"bulk": 1, "queue_limit": 1},
    {"bulk": 10, "queue_limit": 10},
]


@pytest.mark.every_database
@pytest.mark.parametrize("limits", LIMITS, ids=repr)
def test_no_task_waits_behind_a_long_one_while_a_worker_is_idle(
    running_cluster: Runner, diary: Diary, limits: dict[str, Any]
) -> None:
    cluster = running_cluster(**limits)
    # It has got used to very short tasks and takes many at a time.
    cluster.wait_for_all([cluster.send(functions.nothing) for _ in range(60)])
    first = cluster.send_many(3, functions.nothing, diary.path)
    long = cluster.send(functions.log_and_sleep, diary.path, "long", 5)
    short = cluster.send_many(15, functions.log_and_sleep, diary.path, 0.01)
    wait_until(lambda: len(diary.of("end")) == 15, within=4.5)
    assert not diary.of("end")["long"]
    cluster.wait_for_all([*first, long, *short])
    assert set(diary.of("start").values()) == {1}


@pytest.mark.parametrize("limit", [1, 4])
def test_explicit_limit_bounds_what_the_cluster_holds(
    running_cluster: Runner, diary: Diary, limit: int
) -> None:
    cluster = running_cluster(queue_limit=limit)
    ids = cluster.send_many(8, functions.log_and_sleep, diary.path, 0.2)
    broker, workers = cluster.broker(), 2
    diary.wait_until_begun(2)

    def hoarded() -> int:
        """How many more are held than run, wait or have ended and are not yet saved."""
        saved = Task.objects.filter(id__in=ids).count()
        held = broker.lock_size()
        ended = sum(diary.of("end").values())
        return held - (limit + workers + ended - saved)

    assert stays(lambda: hoarded() <= 0, during=0.6)
    cluster.wait_for_all(ids)


def test_backlog_is_not_hoarded_by_one_cluster(
    running_cluster: Runner, diary: Diary
) -> None:
    """With long tasks, what waits stays in the queue, for others to take."""
    cluster = running_cluster()
    ids = cluster.send_many(20, functions.log_and_sleep, diary.path, 0.2)
    diary.wait_until_begun(2)
    # What it took while tasks seemed short goes back once they turn out to be long.
    wait_until(lambda: cluster.broker().lock_size() <= 10, within=2)
    other = running_cluster(cluster_name=cluster.queue)
    cluster.wait_for_all(ids)
    assert set(diary.of("start").values()) == {1}
    other.works()


def test_number_of_workers_is_obeyed(running_cluster: Runner, diary: Diary) -> None:
    cluster = running_cluster(workers=3)
    assert len(cluster.pids("worker")) == 3
    cluster.send_many(3, functions.log_and_sleep, diary.path, 0.5)
    diary.wait_until_begun(3)
    assert not diary.of("end")
    wait_until(cluster.queue_is_empty)


@pytest.mark.parametrize("daemons", [True, False])
def test_tasks_may_start_processes_unless_workers_are_daemons(
    new_cluster: Runner, daemons: bool
) -> None:
    cluster = new_cluster("--run-once", workers=1, daemonize_workers=daemons)
    task = cluster.send(harmful.start_a_process)
    assert cluster.start().wait_for_end() == 0
    row = Task.objects.get(id=task)
    assert row.success is not daemons
    assert "daemonic processes" in row.result if daemons else row.result == 7


# ------------------------------------------------------------------------- names


def test_name_on_the_command_line_chooses_the_queue(running_cluster: Runner) -> None:
    alternatives = {"mail": {"workers": 1}}
    common = {"cluster_name": "common", "ALT_CLUSTERS": alternatives}
    cluster = running_cluster("--name", "mail", **common, workers=1)
    assert [stat.queue for stat in Stat.get_all() if stat.pid == cluster.pid] == [
        "mail"
    ]
    cluster.queue = "mail"
    cluster.works()
    assert Task.objects.filter(cluster="mail").exists()


def test_name_in_the_environment_chooses_the_queue(new_cluster: Runner) -> None:
    cluster = new_cluster()
    cluster.environment["Q_CLUSTER_NAME"] = "by-environment"
    cluster.start().wait_until_running()
    cluster.queue = "by-environment"
    cluster.works()


def test_cluster_without_a_name_serves_the_queue_of_the_site(
    running_cluster: Runner,
) -> None:
    cluster = running_cluster(cluster_name=None)
    cluster.queue = "tests"
    task_id = cluster.send(functions.add, 1, 1, cluster=None)
    assert cluster.wait_for(task_id).cluster == "tests"


# ----------------------------------------------------------------- the command


@pytest.mark.every_database
def test_run_once_does_what_waits_and_ends(new_cluster: Runner, diary: Diary) -> None:
    cluster = new_cluster("--run-once")
    ids = cluster.send_many(20, functions.log_and_sleep, diary.path, 0.02)
    cluster.start()
    assert cluster.wait_for_end() == 0
    assert Task.objects.filter(id__in=ids, success=True).count() == 20
    assert cluster.queue_is_empty()


def test_run_once_ends_at_once_when_nothing_waits(new_cluster: Runner) -> None:
    cluster = new_cluster("--run-once").start()
    assert cluster.wait_for_end() == 0


def test_log_says_what_runs_and_names_no_arguments(cluster: RunningCluster) -> None:
    secret = "a secret argument"
    cluster.wait_for(cluster.send(functions.echo, secret, task_name="discreet"))
    wait_until(lambda: cluster.says(r"INFO ✓ tests\.functions\.echo \[discreet\] in "))
    assert cluster.says(r"INFO ▶ tests\.functions\.echo \[discreet\] on ")
    assert secret not in cluster.log
    for line in (
        r"Q Cluster tests-\S+-\d+ starting",
        r"Q Cluster tests-\S+-\d+ running",
        r"ready for work at \d+",
        r"monitoring at \d+",
        r"pushing tasks at \d+",
        r"guarding cluster",
    ):
        assert cluster.says(line), line


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"workers": "4 "}, r"Q_CLUSTER\['workers'\]"),
        ({"time_zone": "Europe/Berln"}, "Europe/Berlin"),
        ({"broker_class": "shop.brokers.My"}, "shop.brokers"),
    ],
    ids=repr,
)
def test_wrong_setting_is_told_and_nothing_starts(
    new_cluster: Runner, wrong: dict[str, Any], message: str
) -> None:
    cluster = new_cluster(**wrong).start()
    assert cluster.wait_for_end() == 1
    assert cluster.says(message)
    assert not cluster.says("Traceback")


def test_unknown_setting_is_told_and_ignored(running_cluster: Runner) -> None:
    cluster = running_cluster(time_out=5)
    assert cluster.says("Did you mean 'timeout'")
    cluster.works()


def test_idle_cluster_hardly_works(cluster: RunningCluster) -> None:
    wait_until(lambda: cluster.state() == "idle")
    begun, used = monotonic(), processor_time(cluster)
    wait_until(lambda: monotonic() - begun > 2)
    share = (processor_time(cluster) - used) / (monotonic() - begun)
    assert share < 0.1


def processor_time(cluster: RunningCluster) -> float:
    times = [member.cpu_times() for member in cluster.members()]
    return sum(time.user + time.system for time in times)
