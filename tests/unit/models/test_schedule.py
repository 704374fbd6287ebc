"""Schedule: what a row accepts, when it runs next, what its last task did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.test import override_settings

from django_q.models import Schedule, ScheduleNote, Task, validate_cron, validate_kwarg

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)


def schedule(**columns: Any) -> Schedule:
    facts = {"func": "math.sqrt", "next_run": NOON, "schedule_type": Schedule.DAILY}
    return Schedule(**facts | columns)


def problems(row: Schedule) -> dict[str, list[str]]:
    """What the form and `schedule()` would say."""
    try:
        row.full_clean()
    except ValidationError as error:
        return dict(error.message_dict)
    return {}


# --------------------------------------------------------------- what is accepted


def test_types_are_those_of_all_releases():
    codes = [code for code, _name in Schedule.TYPE]
    assert codes == ["O", "I", "H", "D", "W", "BW", "M", "BM", "Q", "Y", "C"]


def test_text_of_a_schedule_is_its_function():
    assert str(schedule()) == "math.sqrt"


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"args": "4", "kwargs": "x=1"},
        {"schedule_type": "C", "cron": "0 22 * * 1-5"},
        {"intended_date_kwarg": "planned", "name": "report", "cluster": "long"},
    ],
)
def test_good_schedule_is_accepted(columns: dict[str, Any]):
    assert problems(schedule(**columns)) == {}


@pytest.mark.parametrize(
    ("columns", "field", "text"),
    [
        ({"args": "open('x')"}, "args", "arguments do not parse"),
        ({"kwargs": "x=y"}, "kwargs", "arguments do not parse"),
        ({"schedule_type": "C"}, "cron", "The Cron type needs a cron expression."),
        ({"cron": "61 * * * *"}, "cron", "minute 61 is not between 0 and 59"),
        ({"intended_date_kwarg": "no name"}, "intended_date_kwarg", "'no name' can't"),
        ({"next_run": None}, "next_run", ""),
        ({"schedule_type": "??"}, "schedule_type", ""),
        ({"func": ""}, "func", ""),
        ({"func": "f" * 300}, "func", ""),
    ],
)
def test_bad_schedule_is_refused_at_its_field(
    columns: dict[str, Any], field: str, text: str
):
    found = problems(schedule(**columns))
    assert list(found) == [field]
    assert text in found[field][0]


def test_bad_cron_expression_is_explained():
    with pytest.raises(ValidationError) as caught:
        validate_cron("61 * * * *")
    assert caught.value.messages == [
        "'61 * * * *' isn't a cron expression: minute 61 is not between 0 and 59."
    ]
    validate_cron("*/5 4 * * 1-5")


@pytest.mark.parametrize("name", ["class", "a b", "1a", "", "a.b", "a=1"])
def test_what_is_no_name_of_a_keyword_is_refused(name: str):
    with pytest.raises(ValidationError):
        validate_kwarg(name)
    validate_kwarg("planned_at")


def test_arguments_are_parsed():
    row = schedule(args="1, 'a'", kwargs="x=1")
    assert row.parse_args() == (1, "a")
    assert row.parse_kwargs() == {"x": 1}


# ------------------------------------------------------------------- the next run


@pytest.mark.parametrize(
    ("columns", "step"),
    [
        ({"schedule_type": "I", "minutes": 7}, timedelta(minutes=7)),
        ({"schedule_type": "I"}, timedelta(minutes=1)),
        ({"schedule_type": "H"}, timedelta(hours=1)),
        ({"schedule_type": "D"}, timedelta(days=1)),
        ({"schedule_type": "BW"}, timedelta(days=14)),
        ({"schedule_type": "M"}, timedelta(days=31)),
        ({"schedule_type": "Y"}, timedelta(days=365)),
        ({"schedule_type": "C", "cron": "30 12 * * *"}, timedelta(minutes=30)),
    ],
)
def test_next_run_is_one_step_further(columns: dict[str, Any], step: timedelta):
    row = schedule(**columns)
    assert row.calculate_next_run() == NOON + step
    assert row.calculate_next_run(NOON + timedelta(days=1)) > NOON + step


def test_schedule_that_runs_once_has_no_run_after_that():
    with pytest.raises(ValueError, match="runs once"):
        schedule(schedule_type=Schedule.ONCE).calculate_next_run()


@time_machine.travel(NOON, tick=False)
def test_schedule_without_next_run_counts_from_now():
    row = schedule(next_run=None)
    assert row.calculate_next_run() == NOON + timedelta(days=1)


def test_time_that_clocks_skipped_comes_back_on_the_next_day(q_settings: Any):
    q_settings(time_zone="Europe/Berlin")
    moved = datetime(2026, 3, 29, 1, tzinfo=UTC)  # 03:00 there; 02:30 was meant
    row = schedule(next_run=moved)
    row.note = ScheduleNote(anchor="2026-03-29T02:30:00")
    assert row.calculate_next_run() == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)


def test_without_time_zones_all_times_are_naive():
    naive = datetime(2026, 5, 12, 12)
    with override_settings(USE_TZ=False):
        row = schedule(next_run=naive)
        assert row.calculate_next_run() == naive + timedelta(days=1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "first"),
    [
        (NOON, NOON),
        (NOON + timedelta(minutes=1), NOON + timedelta(days=1)),
        (NOON - timedelta(days=9, hours=3), NOON - timedelta(days=9)),
    ],
)
def test_new_cron_schedule_starts_at_its_first_match(given: datetime, first: datetime):
    row = schedule(schedule_type="C", cron="0 12 * * *", next_run=given)
    row.save()
    assert row.next_run == first


@pytest.mark.django_db
def test_cron_schedule_that_exists_keeps_the_next_run_it_is_given():
    row = schedule(schedule_type="C", cron="0 12 * * *")
    row.save()
    row.next_run = NOON + timedelta(minutes=5)
    row.save()
    row.refresh_from_db()
    assert row.next_run == NOON + timedelta(minutes=5)


@pytest.mark.django_db
def test_new_cron_schedule_that_can_not_be_read_is_refused():
    with pytest.raises(ValueError, match="isn't a cron expression"):
        schedule(schedule_type="C", cron="61 * * * *").save()
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_next_run_is_now_unless_it_is_given():
    with time_machine.travel(NOON, tick=False):
        assert Schedule.objects.create(func="math.sqrt").next_run == NOON


# ------------------------------------------------------------------ the last task


def save_task(*, success: bool, name: str = "words") -> str:
    moments = {"started": NOON, "stopped": NOON}
    facts = {"id": "a" * 32, "name": name, "success": success, **moments}
    return Task.objects.create(**facts).pk


@pytest.mark.django_db
@pytest.mark.parametrize("task", [None, "b" * 32])
def test_schedule_without_a_last_task_says_nothing(task: str | None):
    row = schedule(task=task)
    assert row.success() is None
    assert row.last_run() is None


@pytest.mark.django_db
@pytest.mark.parametrize(("success", "page"), [(True, "success"), (False, "failure")])
def test_schedule_links_to_its_last_task(*, success: bool, page: str):
    row = schedule(task=save_task(success=success))
    assert row.success() is success
    address = f"/admin/django_q/{page}/{'a' * 32}/change/"
    assert row.last_run() == f'<a href="{address}">[words]</a>'


@pytest.mark.django_db
def test_name_of_the_last_task_is_escaped():
    row = schedule(task=save_task(success=True, name="<script>"))
    assert "[&lt;script&gt;]" in str(row.last_run())


@pytest.mark.django_db
@pytest.mark.urls("tests.unit.models.test_schedule")
def test_without_an_admin_the_last_task_has_no_link():
    row = schedule(task=save_task(success=True, name="<b>"))
    assert row.last_run() == "[&lt;b&gt;]"


urlpatterns: list[Any] = []
