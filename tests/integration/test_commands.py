"""qinfo and qmonitor against the real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from django_q import __version__, dashboard
from django_q.brokers import Broker, get_broker
from django_q.clock import now
from django_q.conf import get_options
from django_q.dashboard.snapshot import Feed, take_snapshot
from django_q.models import Schedule, Task
from django_q.status import Stat
from tests.integration.schema import find_faults
from tests.waiting import wait_until

HERE = Path(__file__).parent
HOUSE = HERE.parents[1]
SCHEMA = json.loads((HERE / "qinfo.schema.json").read_text())

pytestmark = pytest.mark.django_db


def run(*arguments: str, **options: Any) -> str:
    """What a command prints."""
    printed = StringIO()
    call_command(*arguments, stdout=printed, **options)
    return printed.getvalue()


def cluster(**vitals: Any) -> Stat:
    """A cluster that says of itself that it runs."""
    given: dict[str, Any] = {
        "host": "orion",
        "status": "Working",
        "tob": now() - timedelta(minutes=61),
        "workers": [1, 2, 3, 4],
        "busy": 3,
        "reincarnations": 2,
        "name": "tests",
        "queue": get_options().queue,
        "version": __version__,
    }
    stat = Stat.of(cluster_id=uuid4(), pid=4821, **(given | vitals))
    stat.publish(get_broker(), 60)
    return stat


def task(*, success: bool, ago: timedelta, took: float = 2.0) -> None:
    """A task that ended some time ago."""
    stopped = now() - ago
    Task.objects.create(
        id=uuid4().hex,
        name="four-little-words-here",
        func="math.copysign",
        started=stopped - timedelta(seconds=took),
        stopped=stopped,
        success=success,
    )


@pytest.fixture
def work() -> None:
    """Tasks that ended, now and long ago, and some that wait."""
    for success, seconds in ((True, 5), (True, 3000), (False, 9), (False, 90000)):
        task(success=success, ago=timedelta(seconds=seconds))
    for _ in range(3):
        get_broker().enqueue("package")
    Schedule.objects.create(func="math.copysign", next_run=now())


def words(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


# -- qinfo


def test_qinfo_without_any_work() -> None:
    printed = words(run("qinfo"))

    assert printed[0].startswith(f"-- Tests {__version__} on ORM default")
    assert printed[2:7] == [
        "Clusters 0 Workers 0 Restarts 0",
        "Queued 0 Successes 0 Failures 0",
        "Schedules 0 Tasks/day 0 Avg time -",
        "Running 0 Locked 0 Next run -",
        "Succeeded 24h 0 Failed 24h 0 Throughput 0/min",
    ]
    assert printed[-1] == "! tests has no cluster. Start one: python manage.py qcluster"


@pytest.mark.usefixtures("work")
def test_qinfo_with_work() -> None:
    cluster()
    cluster(host="phoenix", workers=[5, 6], busy=0, reincarnations=0)

    printed = words(run("qinfo"))

    assert printed[2:5] == [
        "Clusters 2 Workers 6 Restarts 2",
        "Queued 3 Successes 2 Failures 2",
        "Schedules 1 Tasks/day 2 Avg time 2.0 s",
    ]
    assert printed[5].startswith("Running 3 Locked 0 Next run ")
    assert printed[6] == "Succeeded 24h 2 Failed 24h 1 Throughput 2/min"
    assert printed[-1] == "tests 2 3 0"


def test_qinfo_counts_packages_that_are_handed_out_as_locked() -> None:
    broker = get_broker()
    for _ in range(3):
        broker.enqueue("package")
    broker.dequeue(2)

    printed = words(run("qinfo"))

    assert "Queued 1 Successes 0 Failures 0" in printed
    assert "Running 0 Locked 2 Next run -" in printed


def test_qinfo_counts_each_queue_that_is_served() -> None:
    get_broker("mail").enqueue("package")
    cluster(queue="mail")

    printed = words(run("qinfo"))

    assert "mail 1 1 0" in printed
    assert "tests 0 0 0 no cluster" in printed


def test_qinfo_ids() -> None:
    assert run("qinfo", "--ids") == "No clusters appear to be running.\n"
    stats = {cluster().cluster_id, cluster().cluster_id}

    printed = run("qinfo", "--ids", "--config").splitlines()

    assert {UUID(line) for line in printed} == stats


def test_qinfo_config(settings: Any) -> None:
    settings.Q_CLUSTER = {"name": "shop", "orm": "default", "disque_auth": "geheim"}

    lines = run("qinfo", "--config").splitlines()

    assert lines[0] == f"VERSION: {__version__}"
    assert "PREFIX: shop  # Q_CLUSTER" in lines
    assert "RETRY: 60  # default" in lines
    assert "DISQUE_AUTH: ********  # Q_CLUSTER" in lines


@pytest.mark.usefixtures("work")
def test_qinfo_json_is_as_its_schema_says() -> None:
    stat = cluster()
    get_broker("mail").enqueue("package")
    cluster(queue="mail", tob=None, busy=None, host="\x1b[2J", version=None)

    printed = run("qinfo", "--json")
    figures = json.loads(printed)

    assert list(find_faults(figures, SCHEMA)) == []
    assert printed.isascii()
    assert printed.rstrip("\n").isprintable()
    assert figures["broker"]["kind"] == "orm"
    assert figures["totals"]["waiting"] == 4
    assert figures["totals"]["succeeded_24h"] == 2
    assert figures["totals"]["time_avg_s"] == pytest.approx(2.0)
    assert datetime.fromisoformat(figures["at"]).tzinfo is not None
    mine = next(c for c in figures["clusters"] if c["uuid"] == str(stat.cluster_id))
    assert mine["id"] == "tests-orion-4821"
    assert mine["state"] == "working"
    assert mine["workers"] == 4


def test_qinfo_json_without_any_work() -> None:
    figures = json.loads(run("qinfo", "--json"))

    assert list(find_faults(figures, SCHEMA)) == []
    assert figures["clusters"] == []
    assert [alert["id"] for alert in figures["alerts"]] == ["no_cluster"]


def test_schema_finds_faults() -> None:
    assert list(find_faults({"schema": "1"}, SCHEMA))[:2] == [
        "$ lacks 'at'",
        "$ lacks 'name'",
    ]


def test_figures_need_few_queries(django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        cluster(host=f"host{number}")

    with django_assert_max_num_queries(8):
        take_snapshot()


class Silent(Broker):
    """A broker that never answers."""

    def ping(self) -> bool:
        return False

    def info(self) -> str:
        return "Silent 1.0"


class Refusing(Silent):
    """A broker whose connection fails."""

    def ping(self) -> bool:
        raise ConnectionRefusedError("refused")


@pytest.mark.parametrize("name", ["Silent", "Refusing"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("qinfo",), 1), (("qinfo", "--json"), 2), (("qmonitor", "--run-once"), 1)],
)
def test_broker_that_cannot_be_reached(
    q_settings: Any, name: str, arguments: tuple[str, ...], code: int
) -> None:
    q_settings(broker_class=f"{__name__}.{name}")

    with pytest.raises(CommandError, match=r"refused|Silent 1.0.* doesn't answer") as e:
        run(*arguments)

    assert e.value.returncode == code


def test_vital_signs_for_a_broker_of_a_project(
    q_settings: Any,
) -> None:
    q_settings(broker_class="django_q.brokers.Broker")
    stat = cluster()

    assert run("qinfo", "--ids") == f"{stat.cluster_id}\n"
    assert "Clusters 1 Workers 4 Restarts 2" in words(run("qinfo"))


# -- qmonitor


def test_qmonitor_prints_a_plain_snapshot_where_there_is_no_terminal() -> None:
    cluster(task_q_size=16, task_q_limit=16)
    evil = "\x1b]0;owned\x07\x1b[2J"
    cluster(host=evil, queue=evil, name=evil)

    printed = run("qmonitor")

    assert "\x1b" not in printed
    assert "\x07" not in printed
    lines = printed.splitlines()
    caption = next(line for line in lines if "TQ" in line)
    assert caption.split() == ["Host", "Id", "State", "Pool", "TQ", "RQ", "RC", "Up"]
    row = next(line for line in lines if line.startswith(" orion"))
    assert row.split()[2:] == ["Working", "3/4", "16", "0", "2", "1:01:00"]
    assert any(line.startswith(" ORM default") and "Queued" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_qmonitor_without_any_cluster() -> None:
    printed = run("qmonitor", "--run-once")

    assert "No clusters are running." in printed
    assert "python manage.py qcluster" in printed


def test_monitor_gives_the_clusters_it_has_shown() -> None:
    stat = cluster()

    shown = dashboard.monitor(run_once=True, stream=StringIO())

    assert [s.cluster_id for s in shown or []] == [stat.cluster_id]


def test_info_and_get_ids_say_true(capsys: pytest.CaptureFixture[str]) -> None:
    assert dashboard.info() is True
    assert dashboard.get_ids() is True
    assert "No clusters appear to be running." in capsys.readouterr().out


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["qmonitor"], {}),
        (["qmonitor", "--once"], {"TERM": "xterm"}),
        (["qinfo"], {"FORCE_COLOR": "1"}),
        (["qinfo", "--json"], {"PYTHONIOENCODING": "ascii"}),
        (["qmonitor"], {"PYTHONIOENCODING": "ascii"}),
    ],
)
def test_pipe_gets_no_control_codes(
    arguments: list[str], environment: dict[str, str]
) -> None:
    cluster(host="\x1b[31mörion")
    command = [sys.executable, "-m", "django", *arguments]

    ended = subprocess.run(
        command,
        cwd=HOUSE,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"} | environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stderr
    assert b"\x1b" not in ended.stdout
    assert b"rion" in ended.stdout or arguments == ["qinfo"]
    if "PYTHONIOENCODING" in environment:
        assert ended.stdout.isascii()


@pytest.mark.django_db(transaction=True)
def test_feed_goes_on_after_a_broker_that_did_not_answer() -> None:
    class Flaky(Broker):
        answers = False

        def ping(self) -> bool:
            return Flaky.answers

    with Feed(lambda: take_snapshot(Flaky("tests")), interval=0.01) as feed:
        wait_until(lambda: feed.problem)
        assert feed.latest is None
        assert "doesn't answer" in str(feed.problem)

        Flaky.answers = True

        wait_until(lambda: feed.latest and feed.problem is None)
        assert feed.silence < 5
    assert not connection.in_atomic_block
