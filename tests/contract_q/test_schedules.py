"""Schedules, as code that was written for the releases before ours relies on them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction
from django.db.models.signals import post_delete, post_save, pre_save
from django.dispatch import Signal

from django_q import clock
from django_q.brokers import get_broker
from django_q.brokers.memory import Memory
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.models import OrmQ, Schedule, ScheduleNote
from django_q.signing import SignedPackage

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def plan(**columns: Any) -> Schedule:
    facts = {"func": "tests.functions.echo", "schedule_type": "D", "next_run": NOON}
    return Schedule.objects.create(**facts | columns)


def fire(now: datetime = NOON) -> int:
    return Scheduler(get_options(), get_broker(), "Process-1").enqueue_due(now)


def queued() -> list[dict[str, Any]]:
    return [SignedPackage.loads(row.payload) for row in OrmQ.objects.order_by("pk")]


@contextmanager
def connected(signal: Signal, receiver: Callable[..., None]) -> Iterator[None]:
    signal.connect(receiver, sender=Schedule, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=Schedule)


# ------------------------------------------------------- who watches schedules move


def test_schedule_that_moves_is_saved_for_all_who_watch():
    row, seen = plan(repeats=3), []

    def note(instance: Schedule, *, created: bool, **_facts: Any) -> None:
        seen.append((created, instance.next_run, instance.repeats, instance.task))

    with connected(post_save, note):
        assert fire() == 1
    assert seen == [(False, NOON + DAY, 2, queued()[0]["id"])]
    row.refresh_from_db()
    assert (row.next_run, row.repeats) == (NOON + DAY, 2)


def test_receiver_may_change_what_a_schedule_moves_to():
    row = plan()

    def later(instance: Schedule, **_facts: Any) -> None:
        instance.next_run = NOON + 2 * DAY

    with connected(pre_save, later):
        fire()
    row.refresh_from_db()
    assert row.next_run == NOON + 2 * DAY


def test_receiver_that_refuses_keeps_the_schedule_where_it_is():
    row, other = plan(name="refused"), plan(name="good")

    def refuse(instance: Schedule, **_facts: Any) -> None:
        if instance.pk == row.pk:
            raise ValidationError("not allowed")

    with connected(pre_save, refuse):
        assert fire() == 1
    assert [task["group"] for task in queued()] == ["good"]
    row.refresh_from_db()
    other.refresh_from_db()
    assert row.next_run == NOON
    assert "not allowed" in str(row.error)
    assert other.next_run == NOON + DAY


def test_schedule_that_ran_once_is_deleted_for_all_who_watch():
    row, seen = plan(schedule_type="O"), []

    def note(instance: Schedule, **_facts: Any) -> None:
        seen.append(instance.pk)

    with connected(post_delete, note):
        fire()
    assert seen == [row.pk]


# ------------------------------------------------------------- order, queue, broker


def test_earlier_runs_come_first():
    for hour in (3, 1, 2):
        plan(name=f"{hour}", next_run=NOON - timedelta(hours=hour))
    assert fire(NOON) == 3
    assert [task["group"] for task in queued()] == ["3", "2", "1"]


def test_cluster_of_the_row_beats_that_of_its_options(q_settings: Any):
    q_settings(name="site", cluster_name="mail")
    plan(cluster="mail", kwargs="{'q_options': {'cluster': 'other'}}")
    assert fire() == 1
    assert [row.key for row in OrmQ.objects.all()] == ["mail"]


@pytest.mark.parametrize("kwargs", ["", "{'q_options': {'cluster': 'tests'}}"])
def test_tasks_for_the_own_queue_go_through_the_broker_of_the_cluster(kwargs: str):
    plan(kwargs=kwargs)
    broker = Memory(uuid.uuid4().hex)
    assert Scheduler(get_options(), broker, "Process-1").enqueue_due(NOON) == 1
    assert broker.queue_size() == 1
    assert not queued()


# -------------------------------------------------------------- notes on schedules


class Unreachable(Memory):
    def enqueue(self, package: str, **facts: Any) -> Any:
        raise ConnectionError("nobody listens")


def test_note_is_back_with_its_row_when_the_broker_refuses():
    row = plan(args="x y")
    fire()
    Schedule.objects.filter(pk=row.pk).update(args="1")
    away = Scheduler(get_options(), Unreachable("away"), "Process-1")
    with pytest.raises(ConnectionError):
        away.enqueue_due(NOON)
    again = Schedule.objects.get()
    assert again.next_run == NOON
    assert "do not parse" in str(again.error)


def test_notes_of_schedules_that_are_gone_are_swept_out():
    gone, row = plan(args="x y", name="gone"), plan(args="x y")
    fire()
    gone.delete()
    assert ScheduleNote.objects.count() == 2
    Schedule.objects.filter(pk=row.pk).update(args="1")
    fire()
    assert not ScheduleNote.objects.exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="all writers wait there")
def test_note_waits_for_nobody_who_works_on_another_schedule():
    mine, other = plan(), plan()
    ScheduleNote.write(other, error="it can't", anchor=None)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(connections["default"]), transaction.atomic():
            Schedule.objects.filter(pk=other.pk).update(repeats=5)
            held.set()
            done.wait()

    with ThreadPoolExecutor() as pool:
        holder = pool.submit(hold)
        held.wait()
        try:
            ScheduleNote.write(mine, error="nor can this", anchor=None)
        finally:
            done.set()
        holder.result()
    assert ScheduleNote.objects.count() == 2


def test_schedule_that_is_well_has_no_note():
    plan()
    fire()
    assert not ScheduleNote.objects.exists()


# ------------------------------------------------------------------------- its end


def test_cron_of_certain_years_runs_at_its_last_match_and_pauses():
    row = plan(schedule_type="C", cron="0 12 12 5 * 0 2026")
    assert fire() == 1
    row.refresh_from_db()
    assert (row.next_run, row.repeats, row.error) == (NOON, 0, None)
    assert fire() == 0
    assert len(queued()) == 1


def test_new_cron_row_without_a_time_starts_at_the_next_match() -> None:
    row = Schedule.objects.create(
        func="tests.functions.add", schedule_type="C", cron="* * * * *", next_run=None
    )
    assert row.next_run is not None
    assert timedelta(0) <= row.next_run - clock.now() <= timedelta(minutes=1)
