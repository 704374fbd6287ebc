"""The scheduler on a real database and queue: what fires when, and that it fires once."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.db import OperationalError, connection
from django.utils import timezone

from django_q import tasks
from django_q.brokers import get_broker
from django_q.brokers.memory import Memory
from django_q.brokers.redis_broker import Redis
from django_q.cluster.scheduling import Scheduler
from django_q.cluster.shared_clock import SharedClock
from django_q.conf import get_options
from django_q.execution import Runner
from django_q.humanhash import humanize
from django_q.models import OrmQ, Schedule, Task
from django_q.signals import pre_enqueue
from django_q.signing import SignedPackage
from tests.draining import do
from tests.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)


def scheduler() -> Scheduler:
    return Scheduler(get_options(), get_broker(), "Process-1")


def plan(func: str = "tests.functions.echo", **columns: Any) -> Schedule:
    columns.setdefault("next_run", NOON)
    columns.setdefault("schedule_type", Schedule.DAILY)
    return Schedule.objects.create(func=func, **columns)


def queued() -> list[dict[str, Any]]:
    """The task dicts of everything in the queue, oldest first."""
    return [SignedPackage.loads(row.payload) for row in OrmQ.objects.order_by("pk")]


def slots() -> Counter[tuple[Any, str]]:
    """How often each slot of each schedule was enqueued; for tasks that tell theirs."""
    return Counter((task["group"], task["kwargs"]["slot"]) for task in queued())


# ------------------------------------------------------------------- what is due


def test_due_schedule_becomes_a_task_and_moves_on():
    row = plan(args="1, 'a'", kwargs="x=1", name="report")
    assert scheduler().enqueue_due(NOON) == 1
    [task] = queued()
    assert task["func"] == "tests.functions.echo"
    assert (task["args"], task["kwargs"]) == ((1, "a"), {"x": 1})
    assert task["group"] == "report"
    row.refresh_from_db()
    assert row.next_run == NOON + timedelta(days=1)
    assert row.task == task["id"]
    assert row.repeats == -1


def test_schedule_of_the_future_waits():
    plan(next_run=NOON + timedelta(seconds=1))
    assert scheduler().enqueue_due(NOON) == 0
    assert not queued()


@pytest.mark.parametrize("columns", [{"repeats": 0}, {"next_run": None}])
def test_paused_and_unplanned_schedules_do_not_run(columns: dict):
    plan(**columns)
    assert scheduler().enqueue_due(NOON) == 0
    assert scheduler().next_due() is None


def test_group_is_the_id_where_there_is_no_name():
    row = plan()
    scheduler().enqueue_due(NOON)
    assert queued()[0]["group"] == str(row.pk)


def test_log_says_which_task_came_from_which_slot(caplog):
    caplog.set_level(logging.INFO, "django-q")
    row = plan(name="night\nly")
    scheduler().enqueue_due(NOON)
    row.refresh_from_db()
    name = humanize(row.task or "")
    assert (
        f"Process-1 created task {name} from schedule [night\\nly] "
        "for 2026-05-12T12:00:00+00:00"
    ) in caplog.messages


def test_slot_is_told_to_the_function_that_asks():
    plan(intended_date_kwarg="slot")
    scheduler().enqueue_due(NOON + timedelta(hours=1))
    assert queued()[0]["kwargs"] == {"slot": "2026-05-12T12:00:00+00:00"}


def test_async_task_is_looked_up_where_applications_patch_it(monkeypatch):
    calls = []

    def record(*args: Any, **kwargs: Any) -> str:
        calls.append((args, kwargs))
        return "own id"

    monkeypatch.setattr("django_q.tasks.async_task", record)
    row = plan(args="5,", kwargs="{'x': 1}")
    assert scheduler().enqueue_due(NOON) == 1
    [(args, kwargs)] = calls
    assert args == ("tests.functions.echo", 5)
    assert kwargs["x"] == 1
    row.refresh_from_db()
    assert row.task == "own id"


# ----------------------------------------------------------------------- repeats


@pytest.mark.parametrize(("repeats", "after"), [(-1, -1), (-5, -1), (3, 2), (1, 0)])
def test_repeats_count_down_to_zero_or_stay_endless(repeats: int, after: int):
    row = plan(repeats=repeats)
    scheduler().enqueue_due(NOON)
    row.refresh_from_db()
    assert row.repeats == after


def test_last_repeat_is_the_last_also_while_catching_up():
    row = plan(repeats=2)
    assert scheduler().enqueue_due(NOON + timedelta(days=10)) == 2
    row.refresh_from_db()
    assert row.repeats == 0
    assert scheduler().enqueue_due(NOON + timedelta(days=10)) == 0


def test_once_is_deleted_after_its_run():
    plan(schedule_type=Schedule.ONCE)
    assert scheduler().enqueue_due(NOON + timedelta(days=10)) == 1
    assert not Schedule.objects.exists()
    assert len(queued()) == 1


def test_once_with_counted_runs_is_kept_and_paused():
    row = plan(schedule_type=Schedule.ONCE, repeats=5)
    assert scheduler().enqueue_due(NOON) == 1
    row.refresh_from_db()
    assert row.repeats == 0
    assert row.task == queued()[0]["id"]
    assert row.next_run == NOON
    assert scheduler().enqueue_due(NOON) == 0


# ---------------------------------------------------------------- options, clusters


def test_options_of_the_row_and_of_its_text():
    plan(
        kwargs="{'q_options': {'timeout': 5, 'group': 'g', 'hook': 'a.b', 'task_name': "
        "'n', 'unknown': 1}, 'x': 1}",
        hook="tests.functions.log_result",
    )
    scheduler().enqueue_due(NOON)
    [task] = queued()
    assert (task["timeout"], task["group"], task["name"]) == (5, "g", "n")
    assert task["hook"] == "tests.functions.log_result"
    assert task["kwargs"] == {"x": 1}


def test_task_name_may_stand_among_the_keywords():
    plan(kwargs="x=1, task_name='mine'")
    scheduler().enqueue_due(NOON)
    [task] = queued()
    assert (task["name"], task["kwargs"]) == ("mine", {"x": 1})


def test_cluster_fires_its_own_schedules_only(q_settings):
    plan(name="default"), plan(name="empty", cluster="")
    plan(name="mine", cluster="tests"), plan(name="other", cluster="mail")
    assert scheduler().enqueue_due(NOON) == 3
    assert {task["group"] for task in queued()} == {"default", "empty", "mine"}
    q_settings(cluster_name="mail")
    assert scheduler().enqueue_due(NOON) == 1
    assert queued()[-1]["group"] == "other"


@pytest.mark.parametrize("key", ["cluster", "broker_name"])
def test_task_may_go_to_another_queue_than_the_schedules(key: str):
    plan(kwargs=f"{{'q_options': {{'{key}': 'mail'}}}}")
    scheduler().enqueue_due(NOON)
    assert [row.key for row in OrmQ.objects.all()] == ["mail"]


def test_text_of_a_row_can_not_run_a_task_inside_the_scheduler():
    plan("tests.functions.fail", kwargs="{'q_options': {'sync': True}, 'sync': True}")
    plan("tests.functions.fail", kwargs="broker='x', sync=True")
    assert scheduler().enqueue_due(NOON) == 2
    assert [task["kwargs"] for task in queued()] == [{}, {}]


@pytest.mark.parametrize(
    "kwargs",
    [
        "{'q_options': 5}",
        "{'q_options': {'timeout': 'long'}}",
        "{'q_options': {'hook': 5}}",
        "{'q_options': {'chain': 'x'}}",
        "{'timeout': [1]}",
    ],
)
def test_options_of_a_wrong_type_are_an_error_of_the_row(kwargs: str):
    row = plan(kwargs=kwargs)
    assert scheduler().enqueue_due(NOON) == 0
    row.refresh_from_db()
    assert row.error
    assert "q_options" in row.error or " must be " in row.error


class Unreachable(Memory):
    def enqueue(self, package: str, **facts: Any) -> Any:
        raise ConnectionError("nobody listens")


@pytest.mark.parametrize("schedule_type", [Schedule.DAILY, Schedule.ONCE])
def test_slot_waits_for_a_broker_that_is_no_database(schedule_type: str):
    row = plan(schedule_type=schedule_type, name="report")
    away = Scheduler(get_options(), Unreachable("away"), "Process-1")
    with pytest.raises(ConnectionError):
        away.enqueue_due(NOON)
    again = Schedule.objects.get()
    columns = [f.attname for f in Schedule._meta.concrete_fields]  # noqa: SLF001
    assert [getattr(again, c) for c in columns] == [getattr(row, c) for c in columns]
    assert scheduler().enqueue_due(NOON) == 1
    assert [task["group"] for task in queued()] == ["report"]


def test_slot_reaches_a_broker_that_is_no_database_before_the_row_has_moved():
    """A crash in between repeats it, under the same id, and loses nothing."""
    committed = []

    class Looking(Memory):
        def enqueue(self, package: str, **facts: Any) -> Any:
            committed.append(not connection.in_atomic_block)
            return super().enqueue(package, **facts)

    plan(name="report")
    outside = Looking("looking")
    assert Scheduler(get_options(), outside, "Process-1").enqueue_due(NOON) == 1
    assert committed == [False]
    assert outside.queue_size() == 1


class Forgetful(Memory):
    """As brokers elsewhere: it forgets the id of a task when that has ended."""

    supports_once = False


def test_slot_that_was_sent_before_a_crash_and_has_run_does_not_run_again():
    row = plan(name="report")
    outside = Forgetful("crashed")
    crashing = Scheduler(get_options(), outside, "Process-1")
    assert crashing.enqueue_due(NOON) == 1
    [(receipt, package)] = outside.dequeue()
    task_id = SignedPackage.loads(package)["id"]
    # The transaction of the row was undone, while the task ran to its end.
    Schedule.objects.filter(pk=row.pk).update(next_run=row.next_run, task=row.task)
    Task.objects.create(id=task_id, name="report", started=NOON, stopped=NOON)
    outside.acknowledge(str(receipt))
    assert crashing.enqueue_due(NOON) == 1
    assert outside.queue_size() + outside.lock_size() == 0
    row.refresh_from_db()
    assert (row.next_run, row.task) == (NOON + timedelta(days=1), task_id)


class Undone(Redis):
    """Takes a slot; what sends it is undone then, as by a crash."""

    def enqueue(self, package: str, **options: Any) -> Any:
        super().enqueue(package, **options)
        raise ConnectionError


def test_slot_that_was_sent_before_a_crash_and_left_no_row_does_not_run_again(
    redis_server: RedisServer, q_settings: Any
):
    queue = f"slots-{uuid4().hex[:8]}"
    q_settings(orm=None, redis=redis_server.url, save_limit=-1)
    row = plan()
    with pytest.raises(ConnectionError):
        Scheduler(get_options(), Undone(queue), "Process-1").enqueue_due(NOON)
    assert Schedule.objects.get().next_run == NOON
    outside = Redis(queue)
    [(receipt, package)] = outside.dequeue()
    do(Runner(get_options()), package)
    outside.acknowledge(str(receipt))
    assert not Task.objects.exists()
    following = Scheduler(get_options(), outside, "Process-2")
    assert following.enqueue_due(NOON) == 1
    assert outside.queue_size() == 0
    row.refresh_from_db()
    assert row.next_run == NOON + timedelta(days=1)
    outside.delete_queue()
    outside.close()


def test_in_sync_mode_the_row_moves_before_the_task_runs(q_settings):
    q_settings(sync=True)
    row = plan("tests.functions.fail")
    scheduler().enqueue_due(NOON)
    row.refresh_from_db()
    assert row.next_run == NOON + timedelta(days=1)
    assert row.success() is False


# ------------------------------------------------------------------- missed slots


def test_every_missed_slot_runs_in_one_pass(caplog):
    caplog.set_level(logging.INFO, "django-q")
    row = plan(schedule_type="H", intended_date_kwarg="slot", name="hourly")
    assert scheduler().enqueue_due(NOON + timedelta(hours=5, minutes=1)) == 6
    hours = [f"2026-05-12T{hour}:00:00+00:00" for hour in range(12, 18)]
    assert [task["kwargs"]["slot"] for task in queued()] == hours
    row.refresh_from_db()
    assert row.next_run == NOON + timedelta(hours=6)
    assert "schedule [hourly]: 5 missed slots" in caplog.messages


def test_without_catching_up_there_is_exactly_one_run(q_settings, caplog):
    q_settings(catch_up=False)
    caplog.set_level(logging.INFO, "django-q")
    row = plan(schedule_type="H", repeats=5, name="hourly")
    assert scheduler().enqueue_due(NOON + timedelta(hours=5, minutes=1)) == 1
    row.refresh_from_db()
    assert row.next_run == NOON + timedelta(hours=6)
    assert row.repeats == 4
    assert "schedule [hourly]: 5 missed slots are left out" in caplog.messages


def test_cron_catches_up_like_the_others():
    row = plan(schedule_type="C", cron="30 * * * *", next_run=NOON)
    Schedule.objects.filter(pk=row.pk).update(next_run=NOON - timedelta(hours=2))
    assert scheduler().enqueue_due(NOON) == 3
    row.refresh_from_db()
    assert row.next_run == NOON + timedelta(minutes=30)


def test_one_that_has_much_to_catch_up_does_not_keep_others_waiting(monkeypatch):
    monkeypatch.setattr("django_q.cluster.scheduling.LONGEST_PASS", 0.2)
    plan(schedule_type="I", next_run=NOON - timedelta(days=30), name="late")
    plan(next_run=NOON, name="punctual")
    due = scheduler()
    due.enqueue_due(NOON)
    assert [task["group"] for task in queued()][1] == "punctual"
    assert due.rest() == 0.0


def test_daily_run_that_clocks_skip_is_back_the_day_after(q_settings):
    q_settings(time_zone="Europe/Berlin")
    row = plan(next_run=datetime(2026, 3, 28, 1, 30, tzinfo=UTC))
    expected = [(29, 1, 0), (30, 0, 30), (31, 0, 30)]
    for day, hour, minute in expected:
        assert row.next_run is not None
        assert scheduler().enqueue_due(row.next_run) == 1
        row.refresh_from_db()
        assert row.next_run == datetime(2026, 3, day, hour, minute, tzinfo=UTC)
    assert row.anchor is None


def test_without_time_zones_all_is_naive(settings):
    settings.USE_TZ = False
    noon = NOON.replace(tzinfo=None)
    row = plan(next_run=noon, intended_date_kwarg="slot")
    assert scheduler().enqueue_due(noon) == 1
    assert queued()[0]["kwargs"] == {"slot": "2026-05-12T12:00:00"}
    row.refresh_from_db()
    assert row.next_run == noon + timedelta(days=1)
    assert scheduler().next_due() == row.next_run
    assert scheduler().rest() is not None


# ------------------------------------------------------------------------ bad rows


@pytest.mark.parametrize(
    "columns",
    [
        {"args": "open('x')"},
        {"args": "(" * 5000},
        {"kwargs": "not a dict"},
        {"kwargs": "__import__('os').system('x')"},
        {"schedule_type": "C", "cron": "61 * * * *"},
        {"schedule_type": "X"},
    ],
)
def test_bad_row_shows_its_error_and_harms_nobody(columns: dict, caplog):
    bad, good = plan(name="bad"), plan(name="good")
    Schedule.objects.filter(pk=bad.pk).update(**columns)
    assert scheduler().enqueue_due(NOON) == 1
    assert [task["group"] for task in queued()] == ["good"]
    bad.refresh_from_db()
    good.refresh_from_db()
    assert bad.error
    assert bad.next_run == NOON
    assert good.error is None
    [line] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert line.getMessage() == f"schedule [bad]: {bad.error}"


def test_error_is_logged_once_and_the_row_is_left_alone_for_a_minute(caplog):
    plan(args="x y", name="bad")
    due = scheduler()
    with time_machine.travel(NOON, tick=False):
        for _ in range(5):
            due.enqueue_due()
        rest = due.rest()
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1
    assert rest is not None
    assert 50 < rest <= 60
    scheduler().enqueue_due(NOON)  # another cluster finds the same error
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1


def test_bad_row_is_tried_again_after_its_pause(monkeypatch, caplog):
    row = plan("tests.functions.add", args="x y")
    monkeypatch.setattr("django_q.cluster.scheduling.PAUSE_OF_BAD_ROW", 0.0)
    due = scheduler()
    due.enqueue_due(NOON)
    due.enqueue_due(NOON)
    row.refresh_from_db()
    assert row.error
    assert due.next_due() == NOON
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1


def test_corrected_row_is_tried_at_once_and_its_error_goes():
    row = plan(args="x y")
    due = scheduler()
    assert due.enqueue_due(NOON) == 0
    Schedule.objects.filter(pk=row.pk).update(args="1")
    assert due.next_due() == NOON
    assert due.enqueue_due(NOON) == 1
    row.refresh_from_db()
    assert row.error is None


def test_deleted_bad_row_is_forgotten():
    row = plan(args="x y")
    due = scheduler()
    due.enqueue_due(NOON)
    row.delete()
    assert due.next_due() is None


def test_vetoed_task_leaves_the_row_where_it_is():
    def veto(**_kwargs: Any) -> None:
        raise RuntimeError("not today")

    row = plan()
    pre_enqueue.connect(veto)
    try:
        assert scheduler().enqueue_due(NOON) == 0
    finally:
        pre_enqueue.disconnect(veto)
    row.refresh_from_db()
    assert row.next_run == NOON
    assert row.error == "RuntimeError: not today"
    assert not queued()


def test_unreachable_broker_is_no_error_of_the_row(monkeypatch):
    def unreachable(*_args: Any, **_kwargs: Any) -> None:
        raise OperationalError("gone")

    row = plan()
    due = scheduler()
    monkeypatch.setattr(tasks, "async_task", unreachable)
    with pytest.raises(OperationalError):
        due.enqueue_due(NOON)
    row.refresh_from_db()
    assert row.error is None
    assert row.next_run == NOON
    rest = due.rest()
    assert rest is not None
    assert rest <= 5


# ------------------------------------------------------------------ when to look


def test_next_due_is_the_earliest_of_this_cluster():
    plan(next_run=NOON + timedelta(hours=2))
    plan(next_run=NOON + timedelta(hours=1))
    plan(next_run=NOON, cluster="mail")
    plan(next_run=NOON, repeats=0)
    assert scheduler().next_due() == NOON + timedelta(hours=1)


def test_rest_is_the_time_until_then(monkeypatch):
    monkeypatch.setattr(SharedClock, "now", lambda _self: NOON)
    plan(next_run=NOON + timedelta(seconds=90))
    assert scheduler().rest() == 90.0
    plan(next_run=NOON - timedelta(hours=1))
    assert scheduler().rest() == 0.0


def test_without_schedules_there_is_nothing_to_wait_for():
    assert scheduler().next_due() is None
    assert scheduler().rest() is None


# ------------------------------------------------------------------- exactly once


def test_slot_is_named_by_schedule_and_time_and_a_second_setting_is_another():
    row = plan()
    scheduler().enqueue_due(NOON)
    row.refresh_from_db()
    first = row.task
    Schedule.objects.filter(pk=row.pk).update(next_run=NOON, task=None)
    OrmQ.objects.all().delete()
    scheduler().enqueue_due(NOON)
    row.refresh_from_db()
    assert row.task == first
    Schedule.objects.filter(pk=row.pk).update(next_run=NOON)
    scheduler().enqueue_due(NOON)
    row.refresh_from_db()
    assert row.task != first


def test_row_that_another_cluster_moved_meanwhile_is_left_to_it():
    row = plan()

    class Late(Scheduler):
        def _claim(self, firing: Any) -> bool:
            Schedule.objects.filter(pk=row.pk).update(next_run=NOON + timedelta(days=1))
            return super()._claim(firing)

    late = Late(get_options(), get_broker(), "Process-1")
    assert late.enqueue_due(NOON) == 0
    assert not queued()


def in_threads(count: int, work: Callable[[], object]) -> None:
    """Run the same at once, each with a database connection of its own."""
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            barrier.wait(10)
            work()
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors


def test_three_clusters_fire_each_slot_once():
    for number in range(10):
        plan(schedule_type="H", intended_date_kwarg="slot", name=f"s{number}")
    until = NOON + timedelta(hours=3)
    fired: list[int] = []

    def fire_all() -> None:
        due = scheduler()
        while due.enqueue_due(until):
            pass
        fired.append(1)

    in_threads(3, fire_all)
    assert len(fired) == 3
    found = slots()
    assert len(found) == 10 * 4
    assert set(found.values()) == {1}


def test_schedule_that_is_made_now_is_due_now():
    schedule = tasks.schedule("tests.functions.add", 1, 2)
    assert schedule.next_run is not None
    assert schedule.next_run <= timezone.now()
    assert scheduler().rest() == 0.0
    assert scheduler().enqueue_due() == 1
