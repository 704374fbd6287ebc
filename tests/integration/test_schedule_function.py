"""schedule(): rows for tasks that run later."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import arrow
import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.utils import timezone

from django_q.callables import resolve
from django_q.exceptions import TaskNotImportable
from django_q.models import Schedule
from django_q.tasks import schedule
from tests import functions

pytestmark = pytest.mark.django_db

BERLIN = ZoneInfo("Europe/Berlin")


def stored(planned: Schedule) -> Schedule:
    return Schedule.objects.get(pk=planned.pk)


def test_plain_call_plans_one_run_at_once():
    before = timezone.now()
    row = stored(schedule("tests.functions.add", 1, 2))
    assert row.func == "tests.functions.add"
    assert row.schedule_type == Schedule.ONCE
    assert row.repeats == -1
    assert row.next_run is not None
    assert before <= row.next_run <= timezone.now()
    assert (row.parse_args(), row.parse_kwargs()) == ((1, 2), {})


def test_arguments_are_stored_as_their_text():
    row = stored(schedule("tests.functions.echo", 1, "a'b", [2], key={"x": (1, None)}))
    assert row.args == """(1, "a'b", [2])"""
    assert row.parse_args() == (1, "a'b", [2])
    assert row.parse_kwargs() == {"key": {"x": (1, None)}}


def test_all_keywords_of_the_schedule_are_columns():
    moment = datetime(2027, 5, 1, 12, tzinfo=UTC)
    row = stored(
        schedule(
            "tests.functions.echo",
            name="nightly",
            hook="tests.functions.log_result",
            schedule_type=Schedule.MINUTES,
            minutes=5,
            repeats=3,
            next_run=moment,
            cluster="mail",
            intended_date_kwarg="slot",
            q_options={"timeout": 3},
            own=1,
        )
    )
    assert row.name == "nightly"
    assert row.hook == "tests.functions.log_result"
    assert (row.schedule_type, row.minutes, row.repeats) == ("I", 5, 3)
    assert row.next_run == moment
    assert (row.cluster, row.intended_date_kwarg) == ("mail", "slot")
    assert row.parse_kwargs() == {"q_options": {"timeout": 3}, "own": 1}


def test_functions_are_stored_by_their_path():
    row = stored(schedule(functions.add, 1, hook=functions.log_result))
    assert (row.func, row.hook) == ("tests.functions.add", "tests.functions.log_result")
    assert schedule(math.sqrt, 2).func == "math.sqrt"
    assert resolve(schedule(Path.cwd).func) == Path.cwd


@pytest.mark.parametrize("lost", [lambda: None, functions.Unprintable(), "x".upper])
def test_function_that_nobody_can_find_is_refused(lost: object):
    with pytest.raises(TaskNotImportable, match="top level of a module"):
        schedule(lost)  # type: ignore[arg-type]
    with pytest.raises(TaskNotImportable):
        schedule("tests.functions.add", hook=lost)
    assert not Schedule.objects.exists()


def test_same_name_twice_is_refused_with_what_exists():
    schedule("tests.functions.add", name="report", schedule_type=Schedule.DAILY)
    with pytest.raises(IntegrityError, match=r"'report' exists \(Daily, next run 2"):
        schedule("tests.functions.add", name="report")
    assert Schedule.objects.count() == 1


def test_any_number_of_schedules_may_have_no_name():
    for name in (None, None, "", ""):
        schedule("tests.functions.add", name=name)
    assert Schedule.objects.count() == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule_type": "C", "cron": "61 * * * *"},
        {"schedule_type": "X"},
        {"name": "x" * 101},
        {"minutes": -1},
        {"repeats": "often"},
        {"intended_date_kwarg": "no identifier"},
        {"moment": datetime(2027, 1, 1, tzinfo=UTC)},  # an argument that is no literal
    ],
)
def test_values_that_would_not_work_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        schedule("tests.functions.echo", **wrong)
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    "given",
    [
        datetime(2027, 7, 1, 12, tzinfo=BERLIN),
        arrow.get(2027, 7, 1, 12, tzinfo="Europe/Berlin"),
        "2027-07-01T12:00:00+02:00",
        "2027-07-01 10:00Z",
    ],
)
def test_first_run_may_come_in_many_forms(given: object):
    row = stored(schedule("tests.functions.add", next_run=given))
    assert row.next_run == datetime(2027, 7, 1, 10, tzinfo=UTC)
    assert row.anchor is None


def test_first_run_without_zone_is_taken_in_the_projects(settings):
    settings.TIME_ZONE = "Europe/Berlin"
    text = "next_run has no time zone; 2027-07-01 12:00 was taken as Europe/Berlin"
    with pytest.warns(RuntimeWarning, match=text) as caught:
        planned = schedule("tests.functions.add", next_run=datetime(2027, 7, 1, 12))
    assert caught[0].filename == __file__
    assert stored(planned).next_run == datetime(2027, 7, 1, 10, tzinfo=UTC)


def test_first_run_that_clocks_skip_says_when_it_will_be():
    text = r"2026-03-29 02:30 doesn't exist in Europe/Berlin .*it will run at 03:00"
    given = datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN)
    with pytest.warns(RuntimeWarning, match=text) as caught:
        row = stored(schedule("tests.functions.add", next_run=given))
    assert caught[0].filename == __file__
    assert row.next_run == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert row.anchor == "2026-03-29T02:30:00"


def test_second_of_two_equal_times_is_kept():
    given = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
    row = stored(schedule("tests.functions.add", next_run=given))
    assert row.next_run == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("given", ["tomorrow", 5, timedelta(hours=1)])
def test_first_run_that_is_no_moment_is_refused(given: object):
    with pytest.raises((TypeError, ValueError)):
        schedule("tests.functions.add", next_run=given)


def test_without_time_zones_moments_are_naive(settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Berlin"
    aware = datetime(2027, 7, 1, 10, tzinfo=UTC)
    assert schedule("tests.functions.add", next_run=aware).next_run == datetime(
        2027, 7, 1, 12
    )
    naive = datetime(2027, 7, 1, 12)
    assert stored(schedule("tests.functions.add", next_run=naive)).next_run == naive


def test_first_run_of_cron_is_its_first_match_from_the_given_moment():
    planned = schedule(
        "tests.functions.add",
        schedule_type=Schedule.CRON,
        cron="0 4 * * *",
        next_run="2027-07-01T10:00:00+00:00",
    )
    assert stored(planned).next_run == datetime(2027, 7, 2, 4, tzinfo=UTC)
