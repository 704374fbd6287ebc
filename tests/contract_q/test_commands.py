"""The commands and `django_q.monitor_terminal`, as scripts and projects call them."""

from __future__ import annotations

import inspect
import os
import re
import socket
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command, load_command_class
from django.core.management.base import BaseCommand

from django_q import __version__, monitor_terminal
from django_q.brokers import get_broker
from django_q.clock import now
from django_q.conf import Conf, get_options
from django_q.management.commands import qcluster
from django_q.models import Task
from django_q.status import Stat

pytestmark = pytest.mark.django_db

HOUSE = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    """What a command prints; that it comes back at all means exit code 0."""
    printed = StringIO()
    call_command(*arguments, stdout=printed)
    return printed.getvalue()


def cluster(**vitals: Any) -> Stat:
    """A cluster that says of itself that it runs; its processes are this one."""
    here = os.getpid()
    given: dict[str, Any] = {
        "host": socket.gethostname(),
        "status": "Idle",
        "tob": now(),
        "sentinel": here,
        "monitor": here,
        "workers": [here, here, here],
        "queue": get_options().queue,
    }
    stat = Stat.of(cluster_id=uuid4(), pid=here, **(given | vitals))
    stat.publish(get_broker(), 60)
    return stat


def end(times: int, *, hours: float = 1, success: bool = True) -> None:
    """So many tasks that took two seconds each and ended so many hours ago."""
    stopped = now() - timedelta(hours=hours)
    Task.objects.bulk_create(
        Task(
            id=uuid4().hex,
            name="n",
            func="f",
            started=stopped - timedelta(seconds=2),
            stopped=stopped,
            success=success,
        )
        for _ in range(times)
    )


def parse(command: str, *arguments: str) -> dict[str, Any]:
    """What a command makes of its options."""
    parser = load_command_class("django_q", command).create_parser("manage.py", command)
    return vars(parser.parse_args(arguments))


# -- options


@pytest.mark.parametrize(
    ("command", "arguments", "option", "value"),
    [
        ("qcluster", ["--run-once"], "run_once", True),
        ("qcluster", ["-n", "long"], "cluster_name", "long"),
        ("qcluster", ["--name", "long"], "cluster_name", "long"),
        ("qmonitor", ["--run-once"], "run_once", True),
        ("qinfo", ["--config"], "config", True),
        ("qinfo", ["--ids"], "ids", True),
        ("qmemory", ["--run-once"], "run_once", True),
        ("qmemory", ["--workers"], "workers", True),
    ],
)
def test_option_is_known_and_off_by_default(
    command: str, arguments: list[str], option: str, value: object
) -> None:
    assert parse(command, *arguments)[option] == value
    assert not parse(command)[option]


@pytest.mark.parametrize("command", ["qcluster", "qmonitor", "qinfo", "qmemory"])
def test_option_that_is_not_known_is_refused(command: str) -> None:
    with pytest.raises(CommandError, match="unrecognized arguments: --twice"):
        run(command, "--twice")


# -- qcluster


def test_command_runs_the_cluster_that_its_module_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Projects put a class of their own there; it may have only the older methods."""
    calls: list[str] = []

    class Own:
        def start(self) -> int:
            calls.append("start")
            return os.getpid()

        def stop(self) -> bool:
            calls.append("stop")
            return True

    monkeypatch.setattr(qcluster, "Cluster", Own)
    run("qcluster")
    run("qcluster", "--run-once")

    assert calls == ["start", "start", "stop"]


def test_cluster_can_be_a_mock() -> None:
    with mock.patch.object(qcluster, "Cluster") as stand_in:
        run("qcluster", "--run-once")
    names = [name for name, _args, _kwargs in stand_in.return_value.method_calls]
    assert names[:2] == ["start", "stop"]


def test_exit_code_is_that_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def start(self) -> int:
            return os.getpid()

        def stop(self) -> bool:
            return True

        def guard(self) -> int:
            return 3

    monkeypatch.setattr(qcluster, "Cluster", Interrupted)

    with pytest.raises(SystemExit) as left:
        run("qcluster")

    assert left.value.code == 3


def test_start_that_fails_is_a_command_error_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken:
        def start(self) -> int:
            message = "Q Cluster shop failed to start"
            raise RuntimeError(message)

    monkeypatch.setattr(qcluster, "Cluster", Broken)

    with pytest.raises(CommandError, match="failed to start") as failed:
        run("qcluster")

    assert failed.value.returncode == 1


def test_command_can_be_subclassed(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Own:
        def start(self) -> None:
            started.append(get_options().queue)

        def stop(self) -> bool:
            return True

    class Command(qcluster.Command):
        help = "Starts the cluster of the shop."

        def handle(self, *args: Any, **options: Any) -> None:
            super().handle(*args, **{**options, "cluster_name": "shop"})

    monkeypatch.setattr(qcluster, "Cluster", Own)
    monkeypatch.delenv("Q_CLUSTER_NAME", raising=False)
    try:
        call_command(Command(), "--name", "other")
    finally:
        os.environ.pop("Q_CLUSTER_NAME", None)
        Conf.reload()

    assert started == ["shop"]


# -- qinfo


def test_qinfo_begins_with_what_scripts_look_for(q_settings: Any) -> None:
    q_settings(name="shop")
    cluster()
    end(3)

    lines = run("qinfo").splitlines()
    figures = [re.split(r"\s{2,}", line.strip()) for line in lines[2:5]]

    assert lines[0] == f"-- Shop {__version__} on {get_broker().info()} --"
    assert figures == [
        ["Clusters", "1", "Workers", "3", "Restarts", "0"],
        ["Queued", "0", "Successes", "3", "Failures", "0"],
        ["Schedules", "0", "Tasks/day", "3", "Avg time", "2.0 s"],
    ]


@pytest.mark.parametrize(
    ("successes", "pace"),
    [
        (0, "Tasks/day 0 "),
        (24, "Tasks/day 24 "),
        (25, "Tasks/hour 1.04 "),
        (1440, "Tasks/hour 60.00 "),
        (2160, "Tasks/minute 1.50 "),
    ],
)
def test_pace_has_the_unit_that_sees_more_than_one(successes: int, pace: str) -> None:
    end(successes)

    assert pace in " ".join(run("qinfo").split())


def test_failures_and_older_successes_count_for_no_pace() -> None:
    end(2)
    end(30, success=False)
    end(30, hours=25)

    assert "Tasks/day 2 " in " ".join(run("qinfo").split())


def test_configuration_is_the_version_and_a_line_for_each_setting(
    q_settings: Any,
) -> None:
    q_settings(name="shop", retry=77, timeout=None)

    lines = run("qinfo", "--config").splitlines()
    keys = [line.split(": ", 1)[0] for line in lines]

    assert lines[0] == f"VERSION: {__version__}"
    assert {"PREFIX", "WORKERS", "RETRY", "ORM", "LABEL", "SYNC"} <= set(keys)
    assert any(line.startswith("RETRY: 77") for line in lines)
    for key in keys[1:]:
        assert key.isupper()
        assert getattr(Conf, key) is not None
    assert "TIMEOUT" not in keys


def test_ids_win_over_configuration() -> None:
    first, second = cluster(), cluster()

    lines = run("qinfo", "--config", "--ids").splitlines()

    assert set(lines) == {str(first.cluster_id), str(second.cluster_id)}


# -- qmemory


def test_qmemory_prints_once_where_there_is_no_terminal() -> None:
    mine = cluster()
    cluster(host="elsewhere", queue="mail")

    lines = run("qmemory").splitlines()

    assert " ".join(lines[2].split()) == (
        "Host Id Available % Available MB Total MB Sentinel Monitor Workers MB"
    )
    rows = {line.split()[1]: line.split()[2:] for line in lines[3:5]}
    figures = [float(cell.replace(",", "")) for cell in rows[str(mine.cluster_id)[-8:]]]
    assert len(figures) == 6
    assert figures[5] == pytest.approx(3 * figures[3], rel=0.3)
    assert ["-"] * 6 in rows.values()
    assert not any(re.search(r"\bW1\b", line) for line in lines)


def test_qmemory_with_workers_has_a_column_for_each() -> None:
    cluster()

    printed = run("qmemory", "--workers", "--run-once")

    assert re.search(
        r"^ +W1 +[\d.,]+ +W2 +[\d.,]+ +W3 +[\d.,]+$", printed, re.MULTILINE
    )


def test_qmemory_without_any_cluster() -> None:
    assert "No clusters are running." in run("qmemory", "--run-once")


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("qmonitor", "blessed"),
        ("qinfo", "blessed"),
        ("qinfo", "psutil"),
        ("qmemory", "blessed"),
        ("qmemory", "psutil"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_package_that_is_missing_makes_no_exit_code(command: str, missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from django.core.management import execute_from_command_line\n"
        f"execute_from_command_line(['manage.py', {command!r}])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HOUSE,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stderr
    told = "Run: python -m pip install psutil" in ended.stderr
    assert told == ((command, missing) == ("qmemory", "psutil"))


# -- django_q.monitor_terminal


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("monitor", ["run_once", "broker"]),
        ("info", ["broker"]),
        ("memory", ["run_once", "workers", "broker"]),
        ("get_ids", []),
        ("get_process_mb", ["pid"]),
    ],
)
def test_functions_take_what_they_took(name: str, parameters: list[str]) -> None:
    signature = inspect.signature(getattr(monitor_terminal, name))
    positional = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]

    assert positional[: len(parameters)] == parameters
    assert all(
        p.default is not p.empty for p in list(signature.parameters.values())[1:]
    )


def test_monitor_and_memory_give_the_clusters_that_they_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stat = cluster()

    for shown in (
        monitor_terminal.monitor(run_once=True),
        monitor_terminal.monitor(True, get_broker()),
        monitor_terminal.memory(run_once=True, workers=True),
        monitor_terminal.memory(True, False, get_broker()),
    ):
        assert [s.cluster_id for s in shown or []] == [stat.cluster_id]
    assert capsys.readouterr().out.count(str(stat.cluster_id)[-8:]) == 4


def test_info_and_get_ids_print_and_say_true(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stat = cluster()

    assert monitor_terminal.info(broker=get_broker()) is True
    assert monitor_terminal.get_ids() is True

    printed = capsys.readouterr().out
    assert printed.startswith("-- Tests ")
    assert printed.endswith(f"\n{stat.cluster_id}\n")


def test_memory_of_this_process() -> None:
    mb = monitor_terminal.get_process_mb(os.getpid())

    assert isinstance(mb, float)
    assert mb > 10


def test_commands_are_those_of_management() -> None:
    for name in ("qcluster", "qmonitor", "qinfo", "qmemory"):
        assert isinstance(load_command_class("django_q", name), BaseCommand)
