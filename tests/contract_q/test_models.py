"""The models, as code that was written for the releases before ours relies on them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from django_q import clock, results
from django_q.brokers.memory import Memory
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.models import (
    Attempt,
    Failure,
    OrmQ,
    Schedule,
    ScheduleNote,
    Success,
    Task,
)
from django_q.outcome import Outcome
from tests.databases import fresh_database

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)


def fields_of(model: type[Model]) -> dict[str, Any]:
    return {field.name: field for field in model._meta.concrete_fields}  # noqa: SLF001 - public by its docs


# ---------------------------------------------------------------------- the columns


def test_task_has_the_columns_of_all_releases():
    ended = "started stopped success attempt_count"
    called = "id name func hook args kwargs result group cluster"
    assert fields_of(Task).keys() == {*called.split(), *ended.split()}


def test_what_a_run_leaves_is_not_edited():
    fixed = {name for name, field in fields_of(Task).items() if not field.editable}
    assert fixed == (
        {"id", "name", "group", "started", "stopped", "success"}
        | {"args", "kwargs", "result"}
    )


def test_cluster_of_a_task_may_be_left_out():
    field = fields_of(Task)["cluster"]
    assert (field.null, field.blank, field.default) == (True, True, None)


def test_task_succeeds_unless_something_else_is_said():
    assert Task().success is True
    assert Task().attempt_count == 0


def test_schedule_has_the_columns_of_all_releases():
    call = "id name func hook args kwargs"
    rhythm = "schedule_type minutes repeats next_run cron task cluster"
    names = [*call.split(), *rhythm.split(), "intended_date_kwarg"]
    assert list(fields_of(Schedule)) == names


def test_last_task_of_a_schedule_is_not_edited():
    fixed = {name for name, field in fields_of(Schedule).items() if not field.editable}
    assert fixed == {"task"}


def test_what_a_schedule_may_leave_empty():
    blank = {name for name, field in fields_of(Schedule).items() if field.blank}
    assert blank - {"id"} == (
        {"name", "hook", "args", "kwargs", "minutes", "cron", "cluster"}
        | {"intended_date_kwarg"}
    )


@pytest.mark.django_db
def test_schedules_come_by_their_next_run():
    for day in (3, 1, 2):
        Schedule.objects.create(func=f"f{day}", next_run=NOON + timedelta(days=day))
    assert [row.func for row in Schedule.objects.all()] == ["f1", "f2", "f3"]


def test_queued_tasks_have_no_order_of_their_own():
    assert not OrmQ._meta.ordering  # noqa: SLF001 - public by its docs


@pytest.mark.django_db
def test_column_and_method_of_the_task_id_do_not_clash():
    row = OrmQ.objects.create(key="default", payload="junk", lock=NOON)
    assert row.task_id() == "*BadSignature"
    assert OrmQ.objects.filter(key="default", lock__lt=clock.now()).count() == 1


FIXTURE = """[
{"model": "django_q.schedule", "pk": 7, "fields": {"name": "report", "func": "math.sqrt",
 "hook": null, "args": "4", "kwargs": null, "schedule_type": "C", "minutes": null,
 "repeats": -1, "next_run": "2026-05-12T12:00:00Z", "cron": "0 4 * * *", "task": null,
 "cluster": null, "intended_date_kwarg": null}},
{"model": "django_q.ormq", "pk": 8, "fields": {"key": "default", "payload": "junk",
 "lock": "2026-05-12T12:00:00Z"}},
{"model": "django_q.task", "pk": "88888888888888888888888888888888", "fields": {
 "name": "words", "func": "math.sqrt", "hook": "no.such.hook", "args": "gASVBQAAAAAAAABLBIWULg==",
 "kwargs": null, "result": "gARLBS4=", "group": null, "cluster": null,
 "started": "2026-05-12T12:00:00Z", "stopped": "2026-05-12T12:00:01Z",
 "success": true, "attempt_count": 1}}
]"""


@pytest.mark.django_db
def test_fixture_of_an_earlier_release_is_loaded_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    file = tmp_path / "fixture.json"
    file.write_text(FIXTURE)
    call_command("loaddata", file, verbosity=0)
    assert Schedule.objects.get(pk=7).next_run == NOON
    row = OrmQ.objects.get(pk=8)
    assert (row.key, row.lock, row.holder, row.deliveries) == ("default", NOON, None, 0)
    task = Task.objects.get(pk="8" * 32)
    assert (task.args, task.result, task.success) == ((4,), 5, True)
    assert not caplog.records


@pytest.mark.django_db
def test_tasks_and_schedules_are_deleted_by_one_statement_each(
    django_assert_num_queries: Any,
):
    for digit in "ab":
        moments = {"started": NOON, "stopped": NOON}
        task = Task.objects.create(id=digit * 32, name=digit, func="f", **moments)
        Attempt.objects.create(task=task, number=1, stopped=NOON, success=False)
        row = Schedule.objects.create(func="f")
        ScheduleNote.write(row, error="it can't", anchor=None)
    with django_assert_num_queries(1):
        Success.objects.all().delete()
    with django_assert_num_queries(1):
        Schedule.objects.all().delete()


@pytest.mark.django_db
def test_page_deletes_a_schedule_that_has_an_error(admin_client: Client):
    row = Schedule.objects.create(func="f")
    ScheduleNote.write(row, error="it can't", anchor=None)
    address = reverse("admin:django_q_schedule_delete", args=[row.pk])
    assert admin_client.post(address, {"post": "yes"}).status_code == 302
    assert not Schedule.objects.exists()


# --------------------------------------------------------------------- the databases


class ToTheOther:
    """A router of a project that keeps our tables in a database of their own."""

    def db_for_write(self, model: type[Model], **_hints: Any) -> str | None:
        return "other" if model in (Success, Failure, Task, Schedule) else None


@pytest.fixture
def other(django_db_blocker: Any, settings: Any, tmp_path: Path) -> Iterator[str]:
    with django_db_blocker.unblock(), fresh_database(tmp_path) as facts:
        connections.settings["other"] = copy.deepcopy(facts)
        call_command("migrate", "django_q", database="other", verbosity=0)
        settings.DATABASE_ROUTERS = [ToTheOther()]
        try:
            yield "other"
        finally:
            connections["other"].close()
            del connections["other"]
            del connections.settings["other"]


def ended(**options: Any) -> Outcome:
    options = {"task_id": "a" * 32, **options}
    return Outcome(
        envelope=Envelope.from_call("tests.functions.add", (1, 2), {}, options),
        success=True,
        result=3,
        stopped=clock.now(),
    )


@pytest.mark.django_db(transaction=True)
def test_results_are_saved_and_pruned_where_the_router_says(
    other: str, q_settings: Any
):
    q_settings(save_limit=2)
    options, alias = get_options(), results.write_alias()
    assert alias == other
    outcomes = [ended(task_id=digit * 32) for digit in "abc"]
    records = [results.make_record(outcome, options)[1] for outcome in outcomes]
    results.save(records, using=alias)
    assert Task.objects.using(other).count() == 3
    results.prune(options, using=alias)
    assert Task.objects.using(other).count() == 2
    assert not Task.objects.using("default").exists()


@pytest.mark.django_db(transaction=True)
def test_schedules_move_where_the_router_says(other: str):
    row = Schedule(func="tests.functions.echo", schedule_type="D", next_run=NOON)
    row.save()
    due = Scheduler(get_options(), Memory("tests"), "Process-1")
    assert due.enqueue_due(NOON) == 1
    moved = Schedule.objects.using(other).get()
    assert moved.next_run == NOON + timedelta(days=1)
    assert not Schedule.objects.using("default").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sync", [True, False])
def test_old_connections_are_closed_after_a_task_unless_it_ran_in_sync_mode(
    *, sync: bool
):
    connection.ensure_connection()
    connection.close_at = 0.0  # older than any age that a project allows
    try:
        results.finish(ended(sync=sync), get_options())
        assert (connection.connection is not None) is sync
    finally:
        connection.close()
