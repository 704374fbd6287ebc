"""One site on a database and on Redis: who sees what, and what one outage costs."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.urls import reverse
from redis import Redis as RedisClient

from django_q.brokers import Consignment, get_broker
from django_q.brokers.memory import Memory
from django_q.brokers.redis_broker import Redis
from django_q.clock import now
from django_q.cluster import abroad
from django_q.cluster.abroad import Abroad
from django_q.cluster.board import Word
from django_q.cluster.frames import Report, encode_report
from django_q.cluster.lines import Line
from django_q.cluster.monitoring import Monitor
from django_q.cluster.scheduling import Scheduler
from django_q.conf import Conf, get_options
from django_q.models import OrmQ, Schedule, Task
from django_q.signing import SignedPackage
from django_q.status import Stat
from django_q.tasks import async_task
from tests.integration.schema import find_faults
from tests.integration.test_commands import SCHEMA
from tests.servers import RedisServer, free_port
from tests.unit.cluster.making import make_launch, make_record

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)


@pytest.fixture
def site(redis_server: RedisServer, q_settings: Any) -> Iterator[Any]:
    """Its reports are on Redis."""

    def change(url: str) -> None:
        alternative = {"orm": None, "redis": url}
        q_settings(name="shop", ALT_CLUSTERS={"reports": alternative})

    change(redis_server.url)
    yield change
    with RedisClient.from_url(redis_server.url) as client:
        client.flushdb()


@pytest.fixture
def dead(site: Any) -> str:
    """Nobody answers there."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    site(url)
    return url


@pytest.fixture
def as_reports(site: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is the cluster of the reports."""
    monkeypatch.setenv("Q_CLUSTER_NAME", "reports")
    Conf.reload()
    yield
    monkeypatch.delenv("Q_CLUSTER_NAME")
    Conf.reload()


class Refusing(Memory):
    """Cannot be reached."""

    asked = 0

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        Refusing.asked += 1
        raise OSError("no such host")


def packages(queue: str) -> list[Any]:
    """The tasks that wait on a queue; they are taken."""
    with closing(get_broker(queue)) as broker:
        taken = broker.dequeue(100) or []
        for delivery in taken:
            broker.acknowledge(str(delivery.receipt))
        return [SignedPackage.loads(delivery.package) for delivery in taken]


def size(queue: str) -> int:
    with closing(get_broker(queue)) as broker:
        return broker.queue_size()


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def cluster(queue: str) -> Stat:
    """A cluster that has just posted its vital signs where it does."""
    stat = Stat.of(
        cluster_id=uuid.uuid4(),
        pid=1,
        name="shop",
        queue=queue,
        status="Idle",
        tob=now(),
        workers=[1],
    )
    with closing(get_broker(queue)) as broker:
        stat.publish(broker, 10)
    return stat


# -- producers


def test_tasks_are_where_their_cluster_looks(
    site: Any, redis_server: RedisServer
) -> None:
    task_id = async_task("a.b", 1, cluster="reports")
    with RedisClient.from_url(redis_server.url) as client:
        assert client.llen("django_q:reports:q") == 1
    assert not OrmQ.objects.exists()
    (task,) = packages("reports")
    assert (task["id"], task["args"]) == (task_id, (1,))


def test_redis_gets_it_when_the_database_has_committed(site: Any) -> None:
    with transaction.atomic():
        async_task("a.b", cluster="reports")
        async_task("a.b")
        assert (size("reports"), size("shop")) == (0, 1)
    assert (size("reports"), size("shop")) == (1, 1)


def test_a_row_is_sent_again_to_where_it_was(site: Any, admin_client: Client) -> None:
    assert User.objects.exists()
    row = Task.objects.create(
        id=uuid.uuid4().hex,
        name="monthly",
        func="tests.functions.add",
        args=(1, 2),
        kwargs={},
        cluster="reports",
        started=now(),
        stopped=now(),
        success=False,
    )
    data = {"action": "resubmit_task", "_selected_action": [row.pk]}
    admin_client.post(reverse("admin:django_q_failure_changelist"), data)
    assert [task["args"] for task in packages("reports")] == [(1, 2)]
    assert not OrmQ.objects.exists()


# -- schedules


def fire(**columns: Any) -> Schedule:
    """A due schedule, and a pass of the scheduler."""
    row = Schedule.objects.create(
        func="tests.functions.add",
        next_run=NOON,
        schedule_type=Schedule.DAILY,
        **columns,
    )
    Scheduler(get_options(), get_broker(), "here").enqueue_due(NOON)
    row.refresh_from_db()
    return row


def test_a_schedule_of_the_other_cluster_is_fired_by_that(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = fire(cluster="reports")
    assert row.next_run == NOON
    monkeypatch.setenv("Q_CLUSTER_NAME", "reports")
    Conf.reload()
    with closing(get_broker()) as broker:
        assert isinstance(broker, Redis)
        Scheduler(get_options(), broker, "there").enqueue_due(NOON)
    row.refresh_from_db()
    assert [task["id"] for task in packages("reports")] == [row.task]
    monkeypatch.undo()
    Conf.reload()


def test_a_schedule_may_send_to_the_other_broker(site: Any) -> None:
    row = fire(kwargs="q_options={'cluster': 'reports'}")
    assert [task["id"] for task in packages("reports")] == [row.task]
    assert row.next_run == NOON + timedelta(days=1)


def test_a_slot_whose_task_has_run_there_is_not_sent_again(site: Any) -> None:
    row = fire(kwargs="q_options={'cluster': 'reports'}")
    (task,) = packages("reports")
    facts = {"func": "tests.functions.add", "started": now(), "stopped": now()}
    Task.objects.create(id=task["id"], name="done", success=True, **facts)
    # The scheduler sent it and crashed before the row could move.
    Schedule.objects.filter(pk=row.pk).update(next_run=NOON, task=None)
    Scheduler(get_options(), get_broker(), "here").enqueue_due(NOON)
    assert packages("reports") == []


def test_the_other_broker_is_gone_and_all_other_schedules_run(
    dead: str, caplog: pytest.LogCaptureFixture
) -> None:
    away = [
        Schedule.objects.create(
            func="tests.functions.add",
            name=f"away{n}",
            next_run=NOON - timedelta(hours=1),
            schedule_type=Schedule.DAILY,
            kwargs="q_options={'cluster': 'reports'}",
        )
        for n in range(3)
    ]
    row = fire(name="near")
    assert row.next_run == NOON + timedelta(days=1)
    assert [task["group"] for task in packages("shop")] == ["near"]
    for each in away:
        each.refresh_from_db()
        assert each.next_run == NOON - timedelta(hours=1)
        assert "broker of the queue 'reports'" in (each.error or "")
    assert not [r for r in caplog.records if r.exc_info]


# -- chains


class Bench:
    """The monitor of a cluster on the database, and a worker's line to it."""

    def __init__(self) -> None:
        (ours, self.sentinel), (to_worker, worker) = Line.pair(), Line.pair()
        self.monitor = Monitor(make_launch("monitor", ours, options=get_options()))
        self.monitor.setup()
        self.worker = Line(worker)
        self.monitor.meet("worker", 7, 0, Line(to_worker))
        self.number = 0

    def ends(self, link_queue: str | None = None) -> str:
        """A run ends whose chain goes on in that queue."""
        broker, task_id = self.monitor.broker, uuid.uuid4().hex
        broker.enqueue(f"{task_id}:package", task_id=task_id)
        (delivery,) = broker.dequeue(count=1) or []
        self.number += 1
        record = make_record(id=task_id, keep=True)
        if link_queue:
            facts: dict[str, Any] = {
                "link": SignedPackage.dumps(task_id),
                "link_id": uuid.uuid4().hex,
            }
            record = record._replace(link_queue=link_queue, **facts)
        report = Report(self.number, str(delivery.receipt), False, record.to_bytes())
        self.worker.send(encode_report(report))
        return task_id

    def close(self) -> None:
        self.monitor.teardown()
        for line in (*self.monitor.workers.values(), self.worker):
            line.close()
        for end in (self.monitor.control, self.sentinel):
            end.close()


@pytest.fixture
def bench(site: Any) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def settle(bench: Bench, is_so: Any) -> None:
    for _ in range(200):
        if is_so():
            return
        bench.monitor.turn()
    raise AssertionError("that never came")


def test_a_chain_goes_on_at_the_other_broker(bench: Bench) -> None:
    there, here, plain = bench.ends("reports"), bench.ends("shop"), bench.ends()
    settle(bench, lambda: Task.objects.count() == 3 and not bench.monitor.unsaved)
    assert packages("reports") == [there]
    assert packages("shop") == [here]
    assert Task.objects.filter(pk=plain).exists()
    assert not OrmQ.objects.exists()


def test_the_other_broker_is_gone_and_everybody_else_is_saved(
    bench: Bench, site: Any, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abroad, "REST", 0.0)
    site(f"redis://127.0.0.1:{free_port()}/0")
    there, others = bench.ends("reports"), [bench.ends("shop"), bench.ends()]
    settle(bench, lambda: bench.monitor.refused)
    settle(bench, lambda: not bench.monitor.unsaved)
    assert not bench.monitor.trouble.rest
    assert Task.objects.filter(pk__in=others).count() == 2
    assert bench.monitor.board[Word.UNSAVED] == 1
    # It is still ours, so that it runs again if we die now.
    assert OrmQ.objects.filter(task_key=there).exists()

    bench.monitor.abroad = Abroad()
    site(redis_server.url)
    settle(bench, lambda: not bench.monitor.refused)
    assert packages("reports") == [there]
    assert Task.objects.filter(pk=there).exists()
    assert not OrmQ.objects.filter(task_key=there).exists()


def test_a_broker_that_failed_is_left_alone_for_a_while(
    q_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refusing, "asked", 0)
    q_settings(ALT_CLUSTERS={"reports": {"broker_class": f"{__name__}.Refusing"}})
    ways = Abroad()
    for _ in range(3):
        with pytest.raises(abroad.Unsent, match=r"'reports' can't be reached: no such"):
            ways.send("reports", [])
    assert Refusing.asked == 1
    monkeypatch.setattr(abroad, "REST", 0.0)
    ways = Abroad()
    for _ in range(3):
        with pytest.raises(abroad.Unsent):
            ways.send("reports", [])
    assert Refusing.asked == 4
    ways.close()


# -- who looks


@pytest.mark.parametrize("asker", ["shop", "reports"])
def test_everybody_sees_all_clusters(
    site: Any, asker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {queue: cluster(queue) for queue in ("shop", "reports")}
    async_task("a.b", cluster="reports")
    monkeypatch.setenv("Q_CLUSTER_NAME", asker)
    Conf.reload()
    ids = {stat.cluster_id for stat in both.values()}
    assert {stat.cluster_id for stat in Stat.get_all()} == ids
    for stat in both.values():
        found = Stat.get(stat.pid, stat.cluster_id)
        assert isinstance(found, Stat)
    assert set(run("qinfo", "--ids").split()) == set(map(str, ids))
    told = json.loads(run("qinfo", "--json"))
    assert list(find_faults(told, SCHEMA)) == []
    waiting = {queue["name"]: queue["waiting"] for queue in told["queues"]}
    assert waiting == {"reports": 1, "shop": 0}
    shown = run("qinfo")
    assert "on Redis" in shown or "on ORM" in shown
    assert "no cluster" not in shown
    drawn = run("qmonitor", "--run-once")
    assert all(str(cluster_id)[-8:] in drawn for cluster_id in ids)
    monkeypatch.undo()
    Conf.reload()


def test_who_asks_one_broker_is_told_of_that(site: Any) -> None:
    here, there = cluster("shop"), cluster("reports")
    with closing(get_broker("reports")) as reports:
        assert [s.cluster_id for s in Stat.get_all(reports)] == [there.cluster_id]
    with closing(get_broker()) as shop:
        assert [s.cluster_id for s in Stat.get_all(shop)] == [here.cluster_id]


def test_tasks_that_nobody_serves_there_are_told(site: Any) -> None:
    cluster("shop")
    assert "reports" not in run("qinfo")
    async_task("a.b", cluster="reports")
    assert "! reports has no cluster." in run("qinfo")


def test_a_broker_that_is_gone_hides_no_other(
    dead: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = cluster("shop")
    with caplog.at_level(logging.WARNING, "django-q"):
        assert [stat.cluster_id for stat in Stat.get_all()] == [here.cluster_id]
    assert "clusters of the queues reports are not known" in caplog.text
    told = json.loads(run("qinfo", "--json"))
    assert list(find_faults(told, SCHEMA)) == []
    assert [alert["id"] for alert in told["alerts"]] == ["no_broker"]
    assert told["broker"]["reachable"]
    for command in (("qinfo",), ("qmonitor", "--run-once"), ("qmemory", "--run-once")):
        assert "The broker of reports can't be reached" in run(*command)


def test_also_where_it_is_the_own_one(dead: str, monkeypatch: Any) -> None:
    here = cluster("shop")
    monkeypatch.setenv("Q_CLUSTER_NAME", "reports")
    Conf.reload()
    told = json.loads(run("qinfo", "--json"))
    assert list(find_faults(told, SCHEMA)) == []
    assert not told["broker"]["reachable"]
    assert [each["uuid"] for each in told["clusters"]] == [str(here.cluster_id)]
    assert "The broker of reports can't be reached" in run("qinfo")
    monkeypatch.undo()
    Conf.reload()


def test_without_any_broker_nothing_is_known(dead: str, q_settings: Any) -> None:
    q_settings(orm=None, redis=dead)
    with pytest.raises(CommandError, match="redis"):
        run("qinfo")
