"""What older releases really wrote is kept and read: rows, schedules, packages.

Recorded by tests/upgrades/record.py, from sites that tests/upgrades/site describes.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from pytest_django import DjangoDbBlocker

from django_q.envelope import Envelope
from django_q.exceptions import UnreadablePackage
from django_q.models import OrmQ, Schedule, Task

HERE = Path(__file__).parent
SITE = HERE.parent / "upgrades" / "site"
RECORDED: dict[str, Any] = {
    file.stem: json.loads(file.read_text()) for file in (HERE / "recorded").iterdir()
}
LAST_MIGRATION = {"django-q-0.6.4": "0006", "django-q-1.3.9": "0014"}
SIGNED_AS_TODAY = ["django-q-1.3.9", "django-q2-1.11"]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, q_settings: Any) -> ModuleType:
    """The module of the recorded sites, and their name, which is the salt."""
    q_settings(name="shop")
    monkeypatch.syspath_prepend(SITE)
    return importlib.import_module("jobs")


@pytest.fixture(scope="module", params=sorted(RECORDED))
def moved(
    request: pytest.FixtureRequest,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """A database of this release with its rows, migrated to ours."""
    release: str = request.param
    name = str(tmp_path_factory.mktemp("recorded") / "site.sqlite3")
    engine = {"ENGINE": "django.db.backends.sqlite3", "NAME": name}
    known = connections.configure_settings({"default": engine})
    connections.settings["recorded"] = known["default"]
    with django_db_blocker.unblock():
        migrate(LAST_MIGRATION.get(release, "0019"))
        for table in ("task", "schedule"):
            for row in RECORDED[release][table]:
                insert(f"django_q_{table}", row)
        migrate()
        yield release
        connections["recorded"].close()
    del connections["recorded"], connections.settings["recorded"]


def migrate(*target: str) -> None:
    call_command("migrate", "django_q", *target, database="recorded", verbosity=0)


def insert(table: str, row: dict[str, Any]) -> None:
    columns = ", ".join(f'"{name}"' for name in row)
    values = ", ".join(["%s"] * len(row))
    statement = f"INSERT INTO {table} ({columns}) VALUES ({values})"  # noqa: S608 - ours
    with connections["recorded"].cursor() as cursor:
        cursor.execute(statement, list(row.values()))


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


# ---------------------------------------------------------------------------- rows


def test_results_of_every_kind_are_the_values_that_tasks_gave(
    moved: str, jobs: ModuleType
) -> None:
    rows = Task.objects.using("recorded").filter(func="jobs.give")
    assert {row.args[0] for row in rows} >= jobs.KINDS.keys() - {"long text"}
    wrong = [row.args for row in rows if not same(row.result, jobs.KINDS[row.args[0]])]
    assert wrong == []
    assert all(row.success and row.kwargs == {} for row in rows)


def test_failures_keep_what_went_wrong(moved: str, jobs: ModuleType) -> None:
    for row in Task.objects.using("recorded").filter(success=False):
        assert "not_there" in str(row.result)


def test_dates_among_arguments_are_read_without_the_zones_they_were_made_with(
    moved: str, jobs: ModuleType
) -> None:
    row = Task.objects.using("recorded").get(group="moments")
    moment = row.kwargs["at"]
    assert isinstance(moment, datetime)
    assert row.result == [[], {"at": moment}]
    # It was the last thing before the task was queued.
    assert moment <= row.started < row.stopped


def test_schedules_keep_their_columns_and_have_arguments(moved: str) -> None:
    recorded = {row["name"]: row for row in RECORDED[moved]["schedule"]}
    rows = {row.name: row for row in Schedule.objects.using("recorded")}
    assert rows.keys() == recorded.keys()
    texts = ("func", "hook", "args", "kwargs", "schedule_type", "repeats", "minutes")
    for name, row in rows.items():
        assert [getattr(row, text) for text in texts] == [
            recorded[name][text] for text in texts
        ]
        assert str(row.next_run).removesuffix("+00:00") == recorded[name]["next_run"]


# ------------------------------------------------------------------------ packages


@pytest.mark.parametrize("release", SIGNED_AS_TODAY)
def test_queued_packages_open(release: str, jobs: ModuleType) -> None:
    opened = [Envelope.open(text) for text in RECORDED[release]["packages"]]
    assert all(one.started.utcoffset() is not None for one in opened)
    by_name = {one.func_name: one for one in opened}
    assert by_name["jobs.give"].timeout == 15
    assert by_name["jobs.fail"].args == ("queued",)
    assert [one.args for one in opened if one.func is jobs.add] == [(1, 2)]
    assert [one.args for one in opened if one.name == "queued name"] == [(8, 9)]
    assert [one.args[1] for one in opened if one.save is False] == ["unsaved"]
    assert [one.args for one in opened if one.cached and not one.iter_count] == [(6, 7)]
    (first,) = (one for one in opened if one.chain)
    link = first.next_link()
    assert (first.args, link and link.args) == ((0, 0), (1, 1))
    given = next(one for one in opened if "at" in one.kwargs)
    assert given.args == (jobs.Point(1, 2),)
    assert given.kwargs["at"] <= given.started


@pytest.mark.parametrize("release", SIGNED_AS_TODAY)
def test_queued_packages_are_shown(release: str, jobs: ModuleType) -> None:
    rows = [OrmQ(payload=text) for text in RECORDED[release]["packages"]]
    assert {row.func() for row in rows} >= {"jobs.add", "jobs.echo", "jobs.note"}


def test_packages_signed_with_sha1_are_refused(jobs: ModuleType) -> None:
    for text in RECORDED["django-q-0.6.4"]["packages"]:
        with pytest.raises(UnreadablePackage):
            Envelope.open(text)
