"""Stopping: what runs may end, what was not begun goes back at once, nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from django_q.models import Task
from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.acceptance.moments import MOMENTS, is_just_born
from tests.waiting import stays, wait_until

INTERRUPTED = 3


def waiting(cluster: RunningCluster) -> int:
    """Packages in the queue that nobody holds."""
    return cluster.broker().queue_size()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_cluster_stops(running_cluster: Runner, number: int) -> None:
    cluster = running_cluster()
    cluster.works()
    cluster.terminate(number)
    assert cluster.wait_for_end(within=5) == 0
    assert cluster.says("stopping")
    assert cluster.says("has stopped")
    assert cluster.stat() is None or cluster.state() == "stopped"


@pytest.mark.every_database
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_busy_cluster_finishes_what_runs_and_gives_the_rest_back_at_once(
    running_cluster: Runner, diary: Diary, number: int
) -> None:
    cluster = running_cluster()
    ids = cluster.send_many(12, functions.log_and_sleep, diary.path, 1.5)
    diary.wait_until_begun(2)
    cluster.terminate(number)
    wait_until(lambda: waiting(cluster) == 10, within=1)
    assert not diary.of("end"), "the rest was given back only when what ran had ended"
    assert cluster.wait_for_end(within=8) == 0
    begun = diary.of("start")
    assert diary.of("end") == begun
    assert len(begun) == 2
    assert Task.objects.filter(id__in=ids, success=True).count() == 2
    assert waiting(cluster) == 10
    assert cluster.says("2 tasks running")
    assert cluster.says("2 finished")


@pytest.mark.every_database
def test_task_that_waited_in_many_stopped_clusters_is_not_given_up(
    running_cluster: Runner, diary: Diary
) -> None:
    """Fetched and given back, again and again: that counts neither as start nor death."""
    queue = "patient"
    ids: list[str] = []
    for n in range(4):
        cluster = running_cluster(cluster_name=queue, workers=1, max_deliveries=2)
        if not ids:
            ids = cluster.send_many(4, functions.log_and_sleep, diary.path, 0.4)
            ids += [cluster.send(functions.add, 1, n) for n in range(5)]
        diary.wait_until_begun(n + 1)
        assert cluster.stop() == 0
    cluster = running_cluster(cluster_name=queue, workers=1, max_deliveries=2)
    rows = cluster.wait_for_all(ids)
    assert all(row.success and row.attempt_count == 1 for row in rows)
    assert not cluster.says("WARNING (?!S)")


def test_second_signal_cuts_the_grace(running_cluster: Runner, diary: Diary) -> None:
    cluster = running_cluster(timeout=100)
    ids = cluster.send_many(2, functions.log_and_sleep, diary.path, 60)
    diary.wait_until_begun(2)
    cluster.terminate()
    wait_until(lambda: cluster.says("stopping"))
    cluster.terminate()
    assert cluster.wait_for_end(within=10) == INTERRUPTED
    assert cluster.says("Second signal: grace cut to 5 s")
    assert cluster.says(r"\.\w+ \[[-\w]+\] did not end in the grace; killed, requeued")
    assert cluster.says("0 finished, 2 returned, 0 lost")
    assert waiting(cluster) == 2
    assert not Task.objects.filter(id__in=ids).exists()


@pytest.mark.every_database
def test_grace_of_the_stop_is_bounded_by_a_setting(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(stop_timeout=0.5)
    long = cluster.send(functions.log_and_sleep, diary.path, "long", 60)
    short = cluster.send(functions.log_and_sleep, diary.path, "short", 0.3)
    diary.wait_until_begun(2)
    cluster.terminate()
    assert cluster.wait_for_end(within=5) == INTERRUPTED
    assert Task.objects.get(id=short).success
    assert not Task.objects.filter(id=long).exists()
    assert waiting(cluster) == 1


def test_third_and_fourth_signal_do_no_harm(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster()
    task_id = cluster.send(functions.log_and_sleep, diary.path, "one", 1)
    diary.wait_until_begun()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        cluster.terminate(number)
    assert cluster.wait_for_end(within=8) == 0
    assert Task.objects.get(id=task_id).success


@pytest.mark.every_database
def test_signal_to_all_processes_is_left_to_the_root(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster()
    ids = cluster.send_many(10, functions.log_and_sleep, diary.path, 0.7)
    diary.wait_until_begun(2)
    for member in cluster.members():
        member.terminate()
    assert cluster.wait_for_end(within=8) == 0
    assert diary.of("end") == diary.of("start")
    assert Task.objects.filter(id__in=ids, success=True).count() == 2
    assert waiting(cluster) == 8


def test_control_c_in_a_terminal_stops_like_term(
    running_cluster: Runner, diary: Diary
) -> None:
    """A terminal sends INT to the whole foreground group."""
    cluster = running_cluster()
    cluster.send_many(1, functions.log_and_sleep, diary.path, 0.7)
    diary.wait_until_begun()
    os.killpg(cluster.pid, signal.SIGINT)
    assert cluster.wait_for_end(within=8) == 0
    assert diary.of("end") == {"w0": 1}


def test_stop_ends_a_wedged_task_by_its_timeout(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(timeout_grace=1)
    task_id = cluster.send(harmful.block_in_c, diary.path, timeout=1)
    wait_until(lambda: functions.words(diary.path))
    cluster.terminate()
    cluster.wait_for_end(within=10)
    row = Task.objects.filter(id=task_id).first()
    # Whether its Failure can still be written then is a matter of moments; if not, it
    # waits, and nobody holds it.
    assert waiting(cluster) == (row is None)
    assert row is None or not row.success


@pytest.mark.parametrize("moment", MOMENTS)
def test_signal_during_the_start_leaves_nothing(
    new_cluster: Runner, moment: Callable[[RunningCluster], bool]
) -> None:
    cluster = new_cluster().start()
    wait_until(lambda: moment(cluster), every=0.001)
    cluster.terminate()
    code = cluster.wait_for_end(within=8)
    # Before its handlers are there, the signal ends the command as any other program.
    assert code in ((0, -signal.SIGTERM) if moment is is_just_born else (0,))
    cluster.complain_if_it_complained()


def test_impossible_start_ends_with_one(new_cluster: Runner) -> None:
    cluster = new_cluster(orm="nowhere").start()
    assert cluster.wait_for_end() == 1
    assert cluster.says("nowhere")
    assert not cluster.says("Traceback")


def test_cluster_whose_tables_are_missing_says_so(new_cluster: Runner) -> None:
    cluster = new_cluster()
    cluster.environment["QTEST_DATABASE"] = "sqlite"
    cluster.environment["QTEST_DATABASE_NAME"] = str(cluster.folder / "empty.sqlite3")
    cluster.start()
    assert cluster.wait_for_end() == 1
    assert cluster.says("manage.py migrate")
    assert not cluster.says("Traceback")


def test_stopped_cluster_leaves_no_vital_signs(running_cluster: Runner) -> None:
    cluster = running_cluster()
    assert cluster.stat() is not None
    cluster.stop()
    wait_until(lambda: cluster.state() in ("stopped", "unknown"))
    assert stays(lambda: cluster.state() in ("stopped", "unknown"))
