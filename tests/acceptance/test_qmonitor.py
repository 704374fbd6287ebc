"""qmonitor in front of a real pseudo terminal: it draws, obeys, and gives it back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from django_q.brokers import get_broker
from django_q.clock import now
from django_q.conf import get_options
from django_q.models import VitalSign
from django_q.status import Stat
from tests.acceptance.conftest import Runner
from tests.acceptance.screens import TerminalProgram
from tests.waiting import wait_until

RUN = """
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "qmonitor"])
"""

EXPLODE = f"""
import django
django.setup()
from django_q.dashboard.terminal import View

def explode(self, size):
    raise RuntimeError("a bug of ours")

View.lines = explode
{RUN}
"""

WITHOUT_BLESSED = f"""
import sys
sys.modules["blessed"] = None
{RUN}
"""


def qmonitor(*arguments: str, **environment: str) -> TerminalProgram:
    """The command, in a terminal of 80 columns and 24 lines."""
    return TerminalProgram("-m", "django", "qmonitor", *arguments, **environment)


def publish(host: str = "orion", **vitals: Any) -> Stat:
    """A cluster that says of itself that it runs."""
    given: dict[str, Any] = {
        "status": "Working",
        "tob": now() - timedelta(hours=98),
        "workers": [1, 2, 3, 4],
        "busy": 3,
        "name": "tests",
        "queue": get_options().queue,
    }
    stat = Stat.of(cluster_id=uuid4(), pid=4821, host=host, **(given | vitals))
    stat.publish(get_broker(), 300)
    return stat


@pytest.fixture(autouse=True)
def _nobody_else() -> Iterator[None]:
    """No cluster of another test is on the screen."""
    VitalSign.objects.all().delete()
    yield
    VitalSign.objects.all().delete()


def test_q_leaves_and_gives_the_terminal_back() -> None:
    stat = publish(task_q_size=9753, task_q_limit=9753, reincarnations=2)
    publish("phoenix", status="Stopping", task_q_size=9752, task_q_limit=9753)

    with qmonitor() as monitor:
        monitor.wait_to_show("orion")
        assert monitor.lines[3].split() == [
            *("Host", "Id", "State", "Pool", "TQ", "RQ", "RC", "Up"),
        ]
        row = monitor.lines[4].split()
        assert row[:7] == [
            *("orion", str(stat.cluster_id)[-8:], "Working", "3/4", "9,753", "0", "2"),
        ]
        assert row[7].startswith("98:00:")
        assert monitor.colour_of("9,753") == "green"
        assert monitor.colour_of("9,752") == "default"
        assert monitor.colour_of("Working") == "cyan"
        assert monitor.lines[-1] == " q quit"

        monitor.type("q")

        assert monitor.wait_for_end() == 0
        assert monitor.was_given_back


def test_figures_are_live() -> None:
    publish()

    with qmonitor() as monitor:
        monitor.wait_to_show("orion")
        assert "phoenix" not in monitor.text
        publish("phoenix", status="Idle", busy=0)

        monitor.wait_to_show("phoenix")

        assert "Running 3/8" in monitor.lines[1]


def test_ctrl_c_leaves_and_gives_the_terminal_back() -> None:
    with qmonitor() as monitor:
        monitor.wait_to_show("No clusters are running.")

        monitor.type("\x03")

        assert monitor.wait_for_end() == 0
        assert monitor.was_given_back
        assert "Traceback" not in monitor.written.decode()


def test_sigterm_gives_the_terminal_back() -> None:
    with qmonitor() as monitor:
        monitor.wait_to_show("No clusters are running.")

        monitor.send(signal.SIGTERM)

        assert monitor.wait_for_end() == 0
        assert monitor.was_given_back


def test_exception_gives_the_terminal_back() -> None:
    with TerminalProgram("-c", EXPLODE) as monitor:
        monitor.wait_to_show("RuntimeError: a bug of ours")

        assert monitor.wait_for_end() == 1
        assert monitor.was_given_back


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on() -> None:
    publish()
    with qmonitor() as monitor:
        monitor.wait_to_show("orion")

        monitor.type("\x1a")
        wait_until(lambda: monitor.was_given_back)
        monitor.resize(100, 30)
        monitor.send(signal.SIGCONT)

        wait_until(lambda: len(monitor.lines[2]) == 100)
        monitor.type("q")
        assert monitor.wait_for_end() == 0
        assert monitor.was_given_back


@pytest.mark.parametrize("size", [(60, 10), (200, 60), (40, 5)])
def test_screen_is_drawn_anew_when_its_size_changes(size: tuple[int, int]) -> None:
    publish("a-host-with-a-very-long-name.in.a.domain.example.com")
    columns, lines = size

    with qmonitor() as monitor:
        monitor.wait_to_show("a-host-with")
        monitor.resize(*size)

        wait_until(lambda: monitor.lines[2] == "─" * columns)

        shown = monitor.lines
        assert len(shown) == lines
        assert shown[0].startswith(" django-q")
        assert shown[3].startswith(" Host")
        if lines >= 10:
            assert shown[4].startswith(" a-host")
            assert shown[-1] == " q quit"


def test_many_clusters_scroll() -> None:
    for number in range(30):
        publish(f"host{number:02}")

    with qmonitor() as monitor:
        monitor.wait_to_show("1-15 of 30")
        monitor.type("j")
        monitor.wait_to_show("2-16 of 30")
        monitor.type("\x1b[6~")
        monitor.wait_to_show("14-28 of 30")
        monitor.type("\x1b[A")

        monitor.wait_to_show("13-27 of 30")

        assert monitor.lines[4].startswith(" host12")


def test_hostile_names_do_not_reach_the_terminal() -> None:
    publish("\x1b]0;owned\x07\x1b[2Jevil\nline")

    with qmonitor() as monitor:
        monitor.wait_to_show("\\x1b]0;owned")

        assert b"\x1b]0;owned" not in monitor.written
        assert len(monitor.lines) == 24


def test_no_color_is_obeyed() -> None:
    publish(task_q_size=9753, task_q_limit=9753)

    with qmonitor(NO_COLOR="1") as monitor:
        monitor.wait_to_show("orion")

        assert monitor.colour_of("9,753") == "default"
        assert b"\x1b[32m" not in monitor.written
        monitor.type("q")
        assert monitor.wait_for_end() == 0
        assert monitor.was_given_back


def test_option_no_color_is_obeyed() -> None:
    publish()

    with qmonitor("--no-color") as monitor:
        monitor.wait_to_show("orion")

        assert monitor.colour_of("Working") == "default"


def test_terminal_without_utf_8_gets_plain_marks() -> None:
    publish("a-host-with-a-very-long-name")

    with qmonitor(PYTHONIOENCODING="ascii") as monitor:
        monitor.wait_to_show("a-host-with-a.")

        assert monitor.lines[2] == "-" * 80
        assert monitor.written.isascii()


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [((), {"TERM": "dumb"}), (("--run-once",), {}), (("--once",), {"NO_COLOR": "1"})],
)
def test_dumb_terminal_and_once_get_one_plain_snapshot(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    publish()

    with qmonitor(*arguments, **environment) as monitor:
        assert monitor.wait_for_end(30) == 0

        monitor.wait_to_show("orion")
        assert b"\x1b" not in monitor.written


def test_broker_that_stops_to_answer_is_said_and_waited_for() -> None:
    publish()
    with qmonitor(QTEST_DATABASE_NAME="/nowhere/db") as monitor:
        monitor.wait_to_show("No answer from the broker for")
        assert "Traceback" not in monitor.text

        monitor.type("q")

        assert monitor.wait_for_end() == 0
        assert monitor.was_given_back


def test_without_blessed_there_is_a_plain_snapshot_and_a_note() -> None:
    publish()

    with TerminalProgram("-c", WITHOUT_BLESSED) as monitor:
        assert monitor.wait_for_end(30) == 0

        monitor.wait_to_show("orion")
        monitor.wait_to_show("Run: python -m pip install blessed")
        assert b"\x1b" not in monitor.written


def test_real_cluster_and_its_violent_end(running_cluster: Runner) -> None:
    cluster = running_cluster()

    with qmonitor() as monitor:
        monitor.wait_to_show("Idle")
        assert row_of(monitor).split()[2:7] == ["Idle", "0/2", "0", "0", "0"]
        cluster.kill("worker")

        wait_until(lambda: row_of(monitor).split()[6] == "1")

        cluster.kill_everything()
        monitor.wait_to_show("No clusters are running.")
        monitor.type("q")
        assert monitor.wait_for_end() == 0
        assert monitor.was_given_back


def row_of(monitor: TerminalProgram) -> str:
    """The only cluster's row."""
    lines = monitor.lines
    header = next(n for n, line in enumerate(lines) if "Pool" in line)
    return lines[header + 1]
