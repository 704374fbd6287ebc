"""Clusters that a program starts itself, without the command qcluster."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from django_q.models import Schedule
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import wait_until


def program(new_cluster: Runner, name: str, *arguments: str) -> RunningCluster:
    """A cluster that one of tests/acceptance/programs.py starts."""
    cluster = new_cluster(*arguments)
    cluster.program = ("-m", "tests.acceptance.programs", name)
    return cluster.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_that_starts_and_returns_is_stopped_by_a_signal(
    new_cluster: Runner, number: int
) -> None:
    cluster = program(new_cluster, "start_and_return").wait_until_running()
    wait_until(lambda: functions.words(cluster.signals_file).count("returned") == 1)
    cluster.works()
    cluster.terminate(number)
    assert cluster.wait_for_end() == 0
    assert cluster.says("has stopped")


def test_it_guards_its_cluster_and_a_second_signal_hurries_it(
    new_cluster: Runner, diary: Diary
) -> None:
    cluster = program(new_cluster, "start_and_return").wait_until_running()
    cluster.complaints = "sentinel ended"
    cluster.kill("sentinel")
    wait_until(lambda: cluster.says("restarting"))
    cluster.wait_until_running()
    cluster.send(functions.log_and_sleep, diary.path, "long", 120)
    diary.wait_until_begun()
    cluster.terminate()
    wait_until(lambda: cluster.says("stopping: 1 tasks running"))
    cluster.terminate()
    assert cluster.wait_for_end() == 0
    assert not diary.of("end")


def test_signal_stops_the_cluster_of_a_program_that_does_something_else(
    new_cluster: Runner,
) -> None:
    cluster = program(new_cluster, "do_something_else").wait_until_running()
    cluster.works()
    cluster.terminate()
    assert cluster.wait_for_end() == 0
    assert cluster.says("has stopped")


def test_a_cluster_tells_how_far_it_is(new_cluster: Runner, tmp_path: Path) -> None:
    path = tmp_path / "states"
    cluster = program(new_cluster, "tell_its_states", str(path))
    assert cluster.wait_for_end(60) == 0
    before, running, after, again = json.loads(path.read_text())
    still = {"is_starting": False, "is_running": False, "is_stopping": False}
    always = {"id": True, "host": True}
    assert before == always | still | {"has_stopped": False, "stop": False}
    assert running == always | still | {
        "is_running": True,
        "has_stopped": False,
        "given": True,
        "sentinel": True,
        "daemon": False,
        "stat": True,
    }
    assert after == always | still | {
        "has_stopped": True,
        "stop": False,
        "code": 0,
        "sentinel": False,
    }
    restarted = {"is_running": True, "has_stopped": False, "stop": True}
    assert again == always | still | restarted


def test_manage_py_without_a_guard_starts_one_cluster(
    new_cluster: Runner, tmp_path: Path
) -> None:
    manage = tmp_path / "manage.py"
    manage.write_text(
        "import sys\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(sys.argv)\n"
    )
    cluster = new_cluster()
    cluster.program = (str(manage), "qcluster")
    cluster.environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    cluster.start().wait_until_running()
    cluster.works()
    assert cluster.count("starting: ") == 1
    cluster.terminate()
    assert cluster.wait_for_end() == 0


def test_failing_start_ends_with_one_and_says_so(new_cluster: Runner) -> None:
    cluster = program(new_cluster, "fail_to_start")
    cluster.complaints = "broke"
    assert cluster.wait_for_end() == 1
    assert cluster.says("CommandError: Q Cluster [^ ]+ failed to start")


def test_cluster_with_a_sentinel_of_its_own_works_heals_and_stops(
    new_cluster: Runner,
) -> None:
    cluster = program(new_cluster, "start_own_sentinel").wait_until_running()
    cluster.works()
    killed = cluster.kill("worker")
    wait_until(lambda: cluster.count("own sentinel started") == 3)
    wait_until(lambda: killed not in cluster.pids("worker") and cluster.is_whole())
    cluster.works()
    assert cluster.says(f"own sentinel started [0-9]+ for {cluster.pid}")
    cluster.terminate()
    assert cluster.wait_for_end() == 0


def test_a_sentinel_of_its_own_ends_with_its_parent(new_cluster: Runner) -> None:
    cluster = program(new_cluster, "start_own_sentinel").wait_until_running()
    cluster.terminate(signal.SIGKILL)
    cluster.process.wait(10)
    cluster.wait_until_gone()


def test_replaced_functions_run_in_the_cluster(new_cluster: Runner) -> None:
    cluster = program(new_cluster, "replace_functions").wait_until_running()
    good = cluster.wait_for(cluster.send("tests.functions.add", 1, 2))
    bad = cluster.wait_for(cluster.send("tests.functions.echo", 1))
    lost = cluster.wait_for(cluster.send("tests.functions.fail"))
    assert (good.success, good.result) == (True, 3)
    assert (bad.success, bad.result) == (False, "refused : by us")
    assert not lost.success
    assert "only_allowed, put in the place of the worker, gave no result" in lost.result
    row = Schedule.objects.create(
        func="tests.functions.add", repeats=7, cluster=cluster.queue
    )
    wait_until(lambda: Schedule.objects.get(pk=row.pk).repeats == 0)
    row.refresh_from_db()
    assert cluster.wait_for(str(row.task)).result == row.pk
    for name in ("monitor", "pusher"):
        text = rf"WARNING django_q\.cluster\.{name} was replaced, which has no effect"
        assert cluster.count(text) == 1
    assert not cluster.says("worker was replaced|scheduler was replaced")
