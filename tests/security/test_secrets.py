"""Rows 19 to 21: what stands in logs, titles, messages and on screens."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DataError

from django_q import checks, results
from django_q.brokers import get_broker
from django_q.cluster import titles
from django_q.cluster.greeting import greeting
from django_q.conf import Conf, get_options
from django_q.dashboard.configuration import list_settings
from django_q.logs import attach_console, clean, logger
from django_q.models import Failure
from django_q.options import Options
from django_q.results import database
from django_q.tasks import async_task
from tests.functions import fail
from tests.unit.results.making import ended

ESC, BIDI = "\x1b[31m", "\u202e\u2066\u200f"
FORGED = f"good\r\n10:57:40 [Q] INFO forged{ESC}{BIDI}\x9b\u2028\x85"
SECRET = "s3cr3t"
NOWHERE = "127.0.0.1:1"

ACTIVE = ["\r", "\x1b", "\x9b", "\x85", "\u2028", *BIDI]
"""What a terminal would act on, beside the end of a line."""


@pytest.fixture
def console() -> Iterator[io.StringIO]:
    """What a cluster started by hand would print."""
    stream, handlers, level = io.StringIO(), list(logger.handlers), logger.level
    propagates = logger.propagate
    logger.propagate = False
    attach_console("DEBUG", stream)
    yield stream
    logger.handlers, logger.propagate = handlers, propagates
    logger.setLevel(level)


def judge(text: str) -> None:
    assert [mark for mark in ACTIVE if mark in text] == []
    assert not any(line.startswith("10:57:40") for line in text.splitlines())


# -------------------------------------------------------------------------- words


def test_s19_characters_that_act_are_made_visible() -> None:
    judge(clean(FORGED))
    assert "\n" not in clean(FORGED)
    assert "\\x1b[31m\\u202e" in clean(FORGED)


def test_s19_a_megabyte_is_cut() -> None:
    assert len(clean("x" * 1_000_000)) == 200
    for character in ("\n", "\u202e", "\U000e0001"):
        assert len(clean(character * 1_000_000)) == 200


@pytest.mark.django_db
def test_s19_no_line_of_the_log_is_forged_by_names(console: io.StringIO) -> None:
    async_task("math.sqrt", 9, task_name=FORGED, group=FORGED, cluster=FORGED)
    async_task("math.sqrt", 9, task_name="n" * 1_000_000)
    assert "Enqueued" in console.getvalue()
    judge(console.getvalue())
    assert max(map(len, console.getvalue().splitlines())) < 1000


@pytest.mark.django_db
def test_s19_no_line_of_the_log_is_forged_by_what_a_database_refuses(
    console: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL quotes the value that it refuses, in lines of their own."""

    def refuse(*_args: object) -> None:
        raise DataError(f"invalid{FORGED}\n10:57:40 {'x' * 5000}")

    monkeypatch.setattr(database, "upsert", refuse)
    _, record = results.conclude(ended(), Options())
    results.save([record], using=results.write_alias())
    assert "can't be saved: invalid" in console.getvalue()
    assert "nor can a note about it" in console.getvalue()
    judge(console.getvalue())
    assert max(map(len, console.getvalue().splitlines())) < 1000


def test_s19_no_line_of_the_log_is_forged_by_an_error(console: io.StringIO) -> None:
    try:
        fail(FORGED + "y" * 1_000_000)
    except ValueError:
        logger.exception("a hook failed: %s", clean(FORGED))
    text = console.getvalue()
    assert "ValueError: good" in text
    assert [mark for mark in ACTIVE if mark in text] == []
    assert max(map(len, text.splitlines())) < 10_000


def test_s21_title_has_names_only_and_no_character_that_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []

    class Titles:
        setproctitle = staticmethod(told.append)

    monkeypatch.setattr(titles, "TITLES", Titles)
    titles.set_title("site", "worker 1", f"shop.tasks.{FORGED}")
    [title] = told
    judge(title)
    assert title.startswith("qcluster site worker 1: shop.tasks.good")


# ------------------------------------------------------------------------ secrets

PLACES: dict[str, dict[str, Any]] = {
    "redis by URL": {"redis": f"redis://user:{SECRET}@{NOWHERE}/0"},
    "redis by keyword": {"redis": {"host": "127.0.0.1", "port": 1, "password": SECRET}},
    "redis by query": {"redis": f"redis://{NOWHERE}/0?password={SECRET}"},
    "redis, unquoted": {"redis": f"redis://user:{SECRET}/x#y@{NOWHERE}/0"},
    "sentinels": {
        "redis": {
            "sentinels": [("127.0.0.1", 1)],
            "service_name": "mymaster",
            "password": SECRET,
            "sentinel_kwargs": {"password": SECRET},
        }
    },
    "sentinels by mistake": {
        "redis": {
            "sentinels": [{"password": SECRET}],
            "service_name": "mymaster",
        }
    },
    "cluster": {"redis": {"startup_nodes": [NOWHERE], "password": SECRET}},
    "mongo": {
        "mongo": {
            "host": f"mongodb://user:{SECRET}@{NOWHERE}",
            "serverSelectionTimeoutMS": 100,
        }
    },
    "mongo, unquoted": {"mongo": {"host": f"mongodb://user:{SECRET}/x@{NOWHERE}"}},
    "mongo by mistake": {"mongo": f"mongodb://user:{SECRET}@{NOWHERE}"},
    "disque": {"disque_nodes": [NOWHERE], "disque_auth": SECRET},
    "iron": {
        "iron_mq": {
            "token": SECRET,
            "project_id": "p",
            "host": "127.0.0.1",
            "port": 1,
            "protocol": "http",
        }
    },
    "iron by mistake": {"iron_mq": f"https://{SECRET}@{NOWHERE}"},
    "reporter": {"orm": "default", "error_reporter": {"sentry": {"dsn_key": SECRET}}},
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, q_settings: Any) -> dict[str, Any]:
    chosen = PLACES[request.param]
    q_settings(**{"orm": None, **chosen})
    return chosen


def test_s20_no_check_shows_a_password(place: dict[str, Any]) -> None:
    site = checks.Site(
        raw=place, databases={}, caches={}, logging={}, secret_key=SECRET
    )
    told = [*checks.find_problems(site), *checks.find_risks(site)]
    assert told
    assert SECRET not in "".join(f"{m.msg} {m.hint}" for m in told)


@pytest.mark.django_db
def test_s20_no_list_of_settings_shows_a_password(
    place: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    listed = list(list_settings({}))
    call_command("qinfo", config=True)
    assert listed
    assert SECRET not in "\n".join(listed) + capsys.readouterr().out


def test_s20_settings_that_stand_in_a_traceback_show_no_password(
    place: dict[str, Any],
) -> None:
    assert SECRET not in repr(get_options())
    assert SECRET not in repr(Conf)


def test_s20_no_error_of_a_broker_shows_a_password(
    place: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "django-q")
    told = []
    try:
        broker = get_broker()
        told += [repr(broker), *greeting(get_options(), broker)]
        broker.ping()
    except Exception as error:  # noqa: BLE001 - whatever it is, it may tell too much
        told += traceback.format_exception_only(error)
        told += [repr(error), str(getattr(error, "hint", ""))]
    assert told
    assert SECRET not in "".join(told) + caplog.text


def divide(card: str) -> float:
    """A task whose arguments and variables are nobody's business."""
    number = f"{card} of the customer"
    return len(number) / 0


@pytest.mark.django_db
def test_s20_neither_log_nor_row_shows_variables_of_a_task(
    q_settings: Any, console: io.StringIO
) -> None:
    q_settings(sync=True)
    with pytest.raises(ZeroDivisionError):
        async_task(divide, SECRET)
    row = Failure.objects.get()
    assert "ZeroDivisionError" in row.result
    assert SECRET not in row.result
    assert SECRET not in console.getvalue()
