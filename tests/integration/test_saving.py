"""Saving records as rows: once, the better one, and never at the neighbours' cost."""

from __future__ import annotations

import base64
import pickle
import threading
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError, connection, connections, transaction
from django.db.models.signals import post_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_q.models import Attempt, Failure, Success, Task
from django_q.options import Options
from django_q.results import pruning, upserts
from django_q.results.database import (
    best,
    refused,
    save,
    write_alias,
)
from django_q.results.pruning import Pruner, prune
from django_q.results.record import Record
from tests.aliases import added_sqlite

KIND = django_settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]

pytestmark = pytest.mark.django_db


def encoded(value: Any) -> str:
    return base64.b64encode(pickle.dumps(value)).decode()


def new_record(**facts: Any) -> Record:
    now = timezone.now()
    usual: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "name": "four-words-in-all",
        "func": "tests.functions.add",
        "hook": None,
        "args": encoded((1, 2)),
        "kwargs": encoded({}),
        "result": encoded(3),
        "group": None,
        "cluster": "tests",
        "started": (now - timedelta(seconds=1)).isoformat(),
        "stopped": now.isoformat(),
        "success": True,
        "attempt": 1,
    }
    return Record(**usual | facts)


def write(*records: Record) -> None:
    save(records, using="default")


def row() -> Task:
    return Task.objects.get()


def ended(seconds_ago: float) -> str:
    return (timezone.now() - timedelta(seconds=seconds_ago)).isoformat()


# -- what is written


def test_row_has_all_that_the_record_has():
    record = new_record(
        hook="tests.functions.note",
        group="numbers",
        args=encoded((1, "zwei", None)),
        kwargs=encoded({"key": [1.5]}),
        result=encoded({"3": "drei"}),
        attempt=4,
    )
    write(record)
    task = row()
    assert (task.id, task.name, task.func) == (record.id, record.name, record.func)
    assert (task.hook, task.group, task.cluster) == (
        "tests.functions.note",
        "numbers",
        "tests",
    )
    assert task.args == (1, "zwei", None)
    assert task.kwargs == {"key": [1.5]}
    assert task.result == {"3": "drei"}
    assert task.started == datetime.fromisoformat(record.started)
    assert task.stopped == datetime.fromisoformat(record.stopped)
    assert (task.success, task.attempt_count) == (True, 4)


def test_row_is_what_django_would_have_written():
    record = new_record(group="twins")
    write(record)
    facts = Task.objects.values().get()
    Task.objects.create(**facts | {"id": uuid.uuid4().hex})
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM django_q_task")
        names = [column[0] for column in cursor.description]
        one, other = (dict(zip(names, values, strict=True)) for values in cursor)
    for values in (one, other):
        values.pop("id")
        for pickled in ("args", "kwargs", "result"):
            values[pickled] = pickle.loads(base64.b64decode(values[pickled]))
    assert one == other


def test_times_without_zone_are_stored_as_they_are(settings: Any):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Kathmandu"
    stopped = timezone.now()
    write(new_record(started=stopped.isoformat(), stopped=stopped.isoformat()))
    assert row().stopped == stopped


@pytest.mark.parametrize("offset", ["+00:00", "+05:45", "-03:30"])
def test_times_of_any_offset_are_the_same_moment(offset: str):
    write(new_record(stopped=f"2026-03-29T02:30:00.000001{offset}"))
    assert row().stopped.isoformat() == (
        datetime.fromisoformat(f"2026-03-29T02:30:00.000001{offset}")
        .astimezone(row().stopped.tzinfo)
        .isoformat()
    )


def test_whole_second_is_stored_like_any_other_time():
    write(new_record(stopped="2026-01-02T03:04:05+00:00"))
    assert Task.objects.filter(stopped__lte=timezone.now()).count() == 1
    assert row().stopped.microsecond == 0


@pytest.mark.parametrize("text", ["Grüße, 世界, 🚀", """ ' " \\ % %s {} NULL $1""", ""])
def test_any_text_is_stored(text: str):
    write(new_record(group=text, name=text))
    assert (row().group, row().name) == (text, text)


def test_many_records_take_few_statements():
    with CaptureQueriesContext(connection) as queries:
        write(*(new_record() for _ in range(500)))
    assert Success.objects.count() == 500
    # The drivers of MariaDB split what is longer than 64 kB, inside one call.
    assert len(queries) <= 4


def test_nothing_to_save_takes_no_statement():
    with CaptureQueriesContext(connection) as queries:
        write()
    assert len(queries) == 0


# -- a row that is there already


def in_turn(*outcomes: tuple[bool, int], together: bool) -> Task:
    """The row after saving these successes and attempts of one task."""
    task_id = uuid.uuid4().hex
    records = [
        new_record(id=task_id, success=success, attempt=attempt, result=encoded(n))
        for n, (success, attempt) in enumerate(outcomes)
    ]
    if together:
        write(*records)
    else:
        for record in records:
            write(record)
    return row()


GOOD, BAD = True, False


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
@pytest.mark.parametrize(
    ("outcomes", "winner", "attempts"),
    [
        ([(BAD, 1), (GOOD, 2)], 1, 2),
        ([(GOOD, 2), (BAD, 3)], 0, 2),
        ([(BAD, 1), (BAD, 2)], 1, 2),
        ([(BAD, 2), (BAD, 1)], 0, 2),
        ([(GOOD, 1), (GOOD, 1)], 0, 1),
        ([(BAD, 1), (BAD, 1)], 0, 1),
        ([(BAD, 1), (BAD, 2), (GOOD, 3), (BAD, 3)], 2, 3),
    ],
)
def test_better_record_wins(
    outcomes: list[tuple[bool, int]], winner: int, attempts: int, together: bool
):
    task = in_turn(*outcomes, together=together)
    assert task.result == winner
    assert task.success is outcomes[winner][0]
    assert task.attempt_count == attempts


def test_attempts_never_shrink():
    """A success of an earlier delivery is worth more than a later failure's count."""
    task = in_turn((BAD, 3), (GOOD, 1), together=False)
    assert (task.success, task.result, task.attempt_count) == (True, 1, 3)


def test_saving_again_changes_nothing():
    record = new_record()
    write(record)
    Task.objects.update(group="relabelled")
    write(record)
    assert row().group == "relabelled"


def test_best_of_several_records_of_one_task():
    first, second = new_record(id="a", success=False), new_record(id="a", attempt=1)
    assert best([first, second, new_record(id="b")])["a"] is second


# -- what the database refuses


REFUSED = [
    pytest.param({"group": "lone \ud800 surrogate"}, id="surrogate"),
    pytest.param(
        {"group": "nul \x00 inside"},
        id="nul",
        marks=pytest.mark.skipif(KIND != "postgresql", reason="others store it"),
    ),
    pytest.param({"stopped": "not a date"}, id="date"),
    pytest.param({"attempt": 2**80}, id="number"),
]
if KIND != "sqlite3":
    REFUSED.append(pytest.param({"name": "n" * 101, "func": "f" * 257}, id="long"))


@pytest.mark.parametrize("facts", REFUSED)
def test_refused_record_becomes_a_failure_that_says_why(
    facts: dict[str, Any], caplog: pytest.LogCaptureFixture
):
    good, bad = [new_record() for _ in range(3)], new_record(**facts)
    write(good[0], bad, *good[1:])
    assert Success.objects.count() == 3
    failure = Failure.objects.get()
    assert failure.id == bad.id
    assert "The database refused the result" in failure.result
    assert bad.id in caplog.text


def test_record_that_cannot_even_be_noted_stops_nobody(caplog: Any):
    bad = new_record(attempt=-(2**80))
    write(bad, new_record())
    assert Success.objects.count() == 1
    assert "nor can a note about it" in caplog.text


@pytest.mark.skipif(KIND != "mysql", reason="others take a gigabyte")
def test_result_larger_than_the_database_takes_is_refused():
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    write(new_record(result="x" * limit), new_record())
    assert "max_allowed_packet" in Failure.objects.get().result
    assert Success.objects.count() == 1


def test_large_result_is_stored():
    value = "x" * 3_000_000
    write(new_record(result=encoded(value)), new_record())
    assert Success.objects.filter(result__isnull=False).count() == 2


@pytest.mark.skipif(KIND != "postgresql", reason="others get them row by row")
def test_more_than_postgres_takes_as_json_is_stored(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(upserts, "LARGEST_JSONB", 100)
    records = [new_record(stopped=ended(age)) for age in range(3)]
    with CaptureQueriesContext(connection) as seen:
        write(*records)
        write(*records)
    assert not any("jsonb" in query["sql"] for query in seen)
    kept = {task.id: task.stopped.isoformat() for task in Success.objects.all()}
    assert kept == {record.id: record.stopped for record in records}


def test_database_that_is_away_is_told(tmp_path: Path):
    with (
        added_sqlite(tmp_path / "no folder" / "db") as alias,
        pytest.raises(DatabaseError),
    ):
        save([new_record()], using=alias)


# -- transactions


@pytest.mark.django_db(transaction=True)
def test_callers_transaction_is_joined():
    with transaction.atomic():
        write(new_record())
        transaction.set_rollback(True)
    assert not Task.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_refused_record_leaves_the_callers_transaction_usable():
    with transaction.atomic():
        write(new_record(attempt=2**80), new_record())
        write(new_record())
    assert Success.objects.count() == 2
    assert Failure.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_savers_of_the_same_tasks_agree():
    """Clusters that both ran the same tasks: the successes win, nobody is stopped."""
    ids = [uuid.uuid4().hex for _ in range(50)]
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for attempt in range(1, 4):
                good = number == 0 and attempt == 2
                write(*(new_record(id=i, success=good, attempt=attempt) for i in ids))
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert Success.objects.count() == 50


def test_note_in_place_of_a_refused_record_is_taken_by_every_character_set():
    record = new_record()._replace(name="🚀" * 30, group="ü", hook="é" * 256)
    note = refused(record, ValueError("no"))
    assert (note.name + (note.group or "") + (note.hook or "")).isascii()
    assert len(note.name) <= 100
    assert len(note.hook or "") <= 256


# -- looking and pruning


def test_results_are_written_where_the_router_says():
    assert write_alias() == "default"


def names() -> list[str]:
    return sorted(Task.objects.values_list("name", flat=True))


def clusters() -> list[str]:
    return sorted(str(task.cluster) for task in Task.objects.all())


@pytest.fixture(params=["few", "many"])
def few_or_many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """A few go at a stroke, of many it is found out which they are."""
    few = {connection.vendor: 5_000} if request.param == "few" else {}
    monkeypatch.setattr(pruning, "AT_A_STROKE", few)


@pytest.mark.usefixtures("few_or_many")
def test_oldest_successes_beyond_the_limit_are_pruned():
    write(*(new_record(name=str(age), stopped=ended(age)) for age in range(5)))
    write(new_record(name="failed", success=False, stopped=ended(100)))
    prune(Options(save_limit=2), using="default")
    assert names() == ["0", "1", "failed"]


@pytest.mark.parametrize("limit", [0, -1, 5, 250])
def test_nothing_is_pruned_when_nothing_is_too_much(limit: int):
    write(*(new_record(stopped=ended(age)) for age in range(5)))
    prune(Options(save_limit=limit), using="default")
    assert Task.objects.count() == 5


@pytest.mark.parametrize("column", ["group", "name", "func"])
def test_limit_may_count_for_each_value(column: str):
    for value in ("a", "b"):
        some = [{"cluster": f"{value}{n}", "stopped": ended(n)} for n in range(3)]
        write(*(new_record(**facts, **{column: value}) for facts in some))
    prune(Options(save_limit=2, save_limit_per=column), using="default")
    assert clusters() == ["a0", "a1", "b0", "b1"]


def test_tasks_without_a_group_are_counted_together():
    write(*(new_record(cluster=str(n), stopped=ended(n)) for n in range(3)))
    write(new_record(cluster="grouped", group="a", stopped=ended(9)))
    prune(Options(save_limit=1, save_limit_per="group"), using="default")
    assert clusters() == ["0", "grouped"]


def test_few_are_pruned_at_a_stroke(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pruning, "AT_A_STROKE", {connection.vendor: 1197})
    write(*(new_record(name=f"{n:04}", stopped=ended(n)) for n in range(1200)))
    pruner = Pruner(Options(save_limit=3), using="default")
    with CaptureQueriesContext(connection) as asked:
        assert pruner.prune() == 1197
    changes = [query["sql"] for query in asked if "DELETE" in query["sql"]]
    assert len(changes) == 1, changes
    assert not pruner.has_more


@pytest.mark.usefixtures("few_or_many")
def test_many_are_pruned():
    write(*(new_record(name=f"{n:04}", stopped=ended(n)) for n in range(1200)))
    prune(Options(save_limit=3), using="default")
    assert names() == ["0000", "0001", "0002"]


@pytest.mark.parametrize("per", [None, "func"])
def test_very_many_are_pruned_in_turns(
    per: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pruning, "AT_A_STROKE", {})
    monkeypatch.setattr(pruning, "MOST_PRUNED", 4)
    monkeypatch.setattr(pruning, "MOST_FOUND", 6)
    write(*(new_record(name=str(n), stopped=ended(n)) for n in range(13)))
    pruner = Pruner(Options(save_limit=2, save_limit_per=per), using="default")
    turns = [(pruner.prune(), pruner.has_more) for _ in range(5)]
    assert turns == [(4, True), (2, False), (4, True), (1, False), (0, False)]
    assert names() == ["0", "1"]


def test_what_was_saved_again_since_the_look_is_not_pruned(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(pruning, "AT_A_STROKE", {})
    monkeypatch.setattr(pruning, "MOST_PRUNED", 1)
    write(*(new_record(id=f"{n:032}", stopped=ended(n)) for n in range(4)))
    pruner = Pruner(Options(save_limit=1), using="default")
    pruner.prune()
    assert Task.objects.count() == 3
    for task in Task.objects.all():
        facts = {"worker": "host:1", "success": True, "stopped": task.stopped}
        Attempt.objects.create(task=task, number=2, **facts)
    Task.objects.update(stopped=ended(-1))
    pruner.prune()
    Task.objects.update(stopped=ended(60), success=False)
    pruner.prune()
    assert (Task.objects.count(), Attempt.objects.count()) == (3, 3)


def test_what_was_saved_again_since_the_look_survives_the_stroke(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(pruning, "AT_A_STROKE", {connection.vendor: 10})
    write(*(new_record(name=str(n), stopped=ended(n)) for n in range(4)))
    look = Pruner._look  # noqa: SLF001

    def look_and_change(self: Pruner) -> object:
        found = look(self)
        Task.objects.filter(name="2").update(stopped=ended(-1))
        Task.objects.filter(name="3").update(success=False)
        return found

    monkeypatch.setattr(Pruner, "_look", look_and_change)
    assert Pruner(Options(save_limit=1), using="default").prune() == 1
    assert names() == ["0", "2", "3"]


@pytest.mark.usefixtures("few_or_many")
def test_of_those_that_ended_in_the_same_moment_as_many_are_kept():
    write(*(new_record(stopped=ended(7)) for _ in range(6)))
    prune(Options(save_limit=4), using="default")
    assert Task.objects.count() == 4


def test_those_who_watch_rows_see_them_go(monkeypatch: pytest.MonkeyPatch):
    """Where they would go at a stroke, Django would have all of them in memory at once."""
    monkeypatch.setattr(pruning, "AT_A_STROKE", {connection.vendor: 10})
    monkeypatch.delattr(Pruner, "_delete_at_a_stroke")
    gone: list[str] = []

    def watch(instance: Task, **_kwargs: Any) -> None:
        gone.append(instance.name)

    post_delete.connect(watch, sender=Task)
    try:
        write(*(new_record(name=str(age), stopped=ended(age)) for age in range(3)))
        prune(Options(save_limit=1), using="default")
    finally:
        post_delete.disconnect(watch, sender=Task)
    assert sorted(gone) == ["1", "2"]
