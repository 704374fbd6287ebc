"""When schedules run next: calendar, clocks that change, cron."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_q import recurrence
from django_q.exceptions import NothingFollows
from django_q.recurrence import (
    MOST_COUNTED,
    Recurrence,
    Slot,
    first_match,
    next_run,
    place,
)

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # its clocks change by half an hour
CAIRO = ZoneInfo("Africa/Cairo")  # its clocks jump over midnight
APIA = ZoneInfo("Pacific/Apia")  # had no 30 December 2011
ZONES = [BERLIN, NEW_YORK, LORD_HOWE, CAIRO, APIA, ZoneInfo("UTC")]
SAME_TIME_OF_DAY = ["D", "W", "BW", "M", "BM", "Q"]


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def runs(rhythm: Recurrence, start: Slot, count: int) -> list[datetime]:
    """The first runs after `start`, each from its slot alone as the scheduler does."""
    found = []
    for _ in range(count):
        start = rhythm.following(start)
        found.append(start.moment)
    return found


def shown(moments: list[datetime], zone: ZoneInfo = BERLIN) -> list[str]:
    return [f"{moment.astimezone(zone):%m-%d %H:%M %z}" for moment in moments]


# ------------------------------------------------------------------------ steps


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("I", "2026-01-15 10:01"),
        ("H", "2026-01-15 11:00"),
        ("D", "2026-01-16 10:00"),
        ("W", "2026-01-22 10:00"),
        ("BW", "2026-01-29 10:00"),
        ("M", "2026-02-15 10:00"),
        ("BM", "2026-03-15 10:00"),
        ("Q", "2026-04-15 10:00"),
        ("Y", "2027-01-15 10:00"),
    ],
)
def test_each_type_makes_its_step(kind: str, expected: str):
    found = next_run(kind, at("2026-01-15 10:00", ZoneInfo("UTC")), zone=UTC)
    assert found == at(expected, ZoneInfo("UTC"))
    assert found.tzinfo is UTC


def test_minutes_are_the_given_ones():
    start = at("2026-01-15 10:00")
    assert next_run("I", start, minutes=45, zone=BERLIN) == at("2026-01-15 10:45")
    assert next_run("I", start, minutes=0, zone=BERLIN) == at("2026-01-15 10:01")


def test_what_runs_once_has_no_next_run():
    with pytest.raises(NothingFollows, match="runs once"):
        next_run("O", at("2026-01-15 10:00"), zone=BERLIN)


@pytest.mark.parametrize("kind", ["", "X"])
def test_what_is_no_kind_of_schedule_is_an_error(kind: str):
    with pytest.raises(ValueError, match="no schedule of type"):
        next_run(kind, at("2026-01-15 10:00"), zone=BERLIN)


def test_shorter_month_sticks():
    start = datetime(2026, 1, 31, tzinfo=UTC)
    found = runs(Recurrence(schedule_type="M", zone=UTC), Slot(start), 4)
    assert [(day.month, day.day) for day in found] == [
        (2, 28),
        (3, 28),
        (4, 28),
        (5, 28),
    ]


@pytest.mark.parametrize(
    ("kind", "start", "expected"),
    [
        ("M", "2028-01-31", "2028-02-29"),
        ("M", "2026-12-31", "2027-01-31"),
        ("BM", "2026-12-31", "2027-02-28"),
        ("Q", "2026-11-30", "2027-02-28"),
        ("Y", "2028-02-29", "2029-02-28"),
        ("Y", "2027-02-28", "2028-02-28"),
    ],
)
def test_ends_of_months_and_leap_years(kind: str, start: str, expected: str):
    assert next_run(kind, datetime.fromisoformat(start)) == datetime.fromisoformat(
        expected
    )


def test_months_are_counted_on_the_utc_date():
    # Half past midnight on 1 February in Berlin is still January in UTC: the step is
    # that of 31 January.
    found = next_run("M", at("2026-02-01 00:30"), zone=BERLIN)
    assert found == at("2026-03-01 00:30")


# --------------------------------------------------------------- changing clocks


@pytest.mark.parametrize("kind", SAME_TIME_OF_DAY)
@pytest.mark.parametrize("start", ["2026-03-20 10:00", "2026-10-20 10:00"])
def test_time_of_day_stays_when_clocks_change(kind: str, start: str):
    rhythm = Recurrence(schedule_type=kind, zone=BERLIN)
    found = runs(rhythm, Slot(at(start)), 26)
    assert {moment.astimezone(BERLIN).hour for moment in found} == {10}
    assert {moment.hour for moment in found} == {8, 9}  # in UTC


@pytest.mark.parametrize("kind", ["I", "H"])
def test_intervals_do_not_care_for_clocks(kind: str):
    rhythm = Recurrence(schedule_type=kind, minutes=60, zone=BERLIN)
    for start in ("2026-03-29 00:00", "2026-10-25 00:00"):
        moments = runs(rhythm, Slot(at(start)), 6)
        assert {b - a for a, b in pairwise(moments)} == {timedelta(hours=1)}


def test_yearly_runs_keep_their_time_in_utc():
    found = next_run("Y", at("2026-03-29 10:00"), zone=BERLIN)
    assert found == at("2027-03-29 10:00")
    # On 28 March 2025 Berlin was still in winter time, on 28 March 2027 as well; on the
    # 29th of 2026 summer had begun.
    found = next_run("Y", at("2025-03-29 10:00"), zone=BERLIN)
    assert shown([found]) == ["03-29 11:00 +0200"]


def test_daily_run_that_clocks_skip_runs_late_once_and_is_back_the_day_after():
    rhythm = Recurrence(schedule_type="D", zone=BERLIN)
    assert shown(runs(rhythm, Slot(at("2026-03-27 02:30")), 4)) == [
        "03-28 02:30 +0100",
        "03-29 03:00 +0200",
        "03-30 02:30 +0200",
        "03-31 02:30 +0200",
    ]


def test_daily_run_that_clocks_repeat_runs_once():
    rhythm = Recurrence(schedule_type="D", zone=BERLIN)
    assert shown(runs(rhythm, Slot(at("2026-10-24 02:30")), 3)) == [
        "10-25 02:30 +0200",
        "10-26 02:30 +0100",
        "10-27 02:30 +0100",
    ]


def test_run_at_the_second_occurrence_goes_on_the_day_after():
    second = Slot(at("2026-10-25 02:30").replace(fold=1))
    rhythm = Recurrence(schedule_type="D", zone=BERLIN)
    assert shown(runs(rhythm, second, 1)) == ["10-26 02:30 +0100"]


def test_neighbours_of_a_skipped_time_stay_where_they_are():
    rhythm = Recurrence(schedule_type="D", zone=BERLIN)
    for time in ("01:59", "03:00", "03:30"):
        found = runs(rhythm, Slot(at(f"2026-03-28 {time}")), 2)
        assert [f"{m.astimezone(BERLIN):%H:%M}" for m in found] == [time, time]


@pytest.mark.parametrize(
    ("zone", "wall", "moved"),
    [
        (BERLIN, "2026-03-29 02:00", "03-29 03:00 +0200"),
        (BERLIN, "2026-03-29 02:59:59.999999", "03-29 03:00 +0200"),
        (NEW_YORK, "2026-03-08 02:30", "03-08 03:00 -0400"),
        (LORD_HOWE, "2026-10-04 02:15", "10-04 02:30 +1100"),
        (CAIRO, "2026-04-24 00:30", "04-24 01:00 +0300"),
        (APIA, "2011-12-30 12:00", "12-31 00:00 +1400"),
    ],
)
def test_skipped_time_stands_for_the_next_that_exists(
    zone: ZoneInfo, wall: str, moved: str
):
    meant = datetime.fromisoformat(wall)
    slot = place(meant, zone)
    assert slot.meant == meant
    assert shown([slot.moment], zone) == [moved]
    rhythm = Recurrence(schedule_type="D", zone=zone)
    assert rhythm.following(slot).moment == at(wall, zone) + timedelta(days=1)


def test_what_was_meant_is_forgotten_once_somebody_moved_the_run():
    rhythm = Recurrence(schedule_type="D", zone=BERLIN)
    meant = datetime.fromisoformat("2026-03-29 02:30")
    moved = Slot(at("2026-03-29 09:00"), meant)
    assert shown(runs(rhythm, moved, 1)) == ["03-30 09:00 +0200"]
    elsewhere = Recurrence(schedule_type="D", zone=NEW_YORK)
    kept = Slot(at("2026-03-29 03:00"), meant)
    assert shown(runs(elsewhere, kept, 1)) == ["03-30 03:00 +0200"]


def test_weekly_run_skipped_by_the_clocks_is_back_the_week_after():
    rhythm = Recurrence(schedule_type="W", zone=NEW_YORK)
    found = runs(rhythm, Slot(at("2026-03-01 02:30", NEW_YORK)), 2)
    assert shown(found, NEW_YORK) == ["03-08 03:00 -0400", "03-15 02:30 -0400"]


@settings(max_examples=200, deadline=None)
@given(
    start=st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)),
    zone=st.sampled_from(ZONES),
    kind=st.sampled_from([*SAME_TIME_OF_DAY, "H", "I", "Y"]),
)
def test_runs_go_forward_and_keep_the_time_of_day(
    start: datetime, zone: ZoneInfo, kind: str
):
    rhythm = Recurrence(schedule_type=kind, zone=zone)
    slot = place(start, zone)
    for _ in range(40):
        later = rhythm.following(slot)
        assert later.moment > slot.moment
        slot = later
        if kind in SAME_TIME_OF_DAY:
            wall = slot.moment.astimezone(zone).replace(tzinfo=None)
            assert (slot.meant or wall).time() == start.time()


@settings(max_examples=200, deadline=None)
@given(
    wall=st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)),
    zone=st.sampled_from(ZONES),
)
def test_placing_shows_the_same_time_or_says_what_was_meant(
    wall: datetime, zone: ZoneInfo
):
    slot = place(wall, zone)
    seen = slot.moment.astimezone(zone).replace(tzinfo=None, fold=0)
    if slot.meant is None:
        assert seen == wall
    else:
        assert seen > wall == slot.meant
        just_before = slot.moment - timedelta(microseconds=1)
        assert just_before.astimezone(zone).replace(tzinfo=None) < wall


# ------------------------------------------------------------------------ naive


@pytest.mark.parametrize("kind", ["I", "H", *SAME_TIME_OF_DAY, "Y"])
def test_without_time_zones_all_is_plain_arithmetic(kind: str):
    start = datetime(2026, 3, 28, 2, 30)
    found = next_run(kind, start)
    assert found.tzinfo is None
    assert found > start


def test_cron_without_time_zones():
    found = next_run("C", datetime(2026, 3, 28, 12), cron="30 2 * * *")
    assert found == datetime(2026, 3, 29, 2, 30)


def test_naive_moment_is_wall_clock_time_of_the_zone():
    found = next_run("D", datetime(2026, 7, 1, 10), zone=BERLIN)
    assert found == at("2026-07-02 10:00")


# ------------------------------------------------------------------- missed runs


@pytest.mark.parametrize(
    ("kind", "now", "following", "missed"),
    [
        ("D", "2026-01-15 10:00:30", "2026-01-16 10:00", 0),
        ("D", "2026-01-18 10:00:30", "2026-01-19 10:00", 3),
        ("D", "2026-01-18 10:00", "2026-01-19 10:00", 3),
        ("W", "2026-03-01 10:00", "2026-03-05 10:00", 6),
        ("M", "2026-06-15 09:00", "2026-06-15 10:00", 4),
        ("H", "2026-01-15 10:59", "2026-01-15 11:00", 0),
        ("H", "2026-01-15 11:00", "2026-01-15 12:00", 1),
        ("H", "2026-01-16 10:30", "2026-01-16 11:00", 24),
        ("I", "2027-01-15 10:00", "2027-01-15 10:01", 365 * 24 * 60),
        ("Y", "2028-06-01 10:00", "2029-01-15 10:00", 2),
    ],
)
def test_missed_slots_are_counted_and_skipped(
    kind: str, now: str, following: str, missed: int
):
    utc = ZoneInfo("UTC")
    rhythm = Recurrence(schedule_type=kind, zone=utc)
    start = Slot(at("2026-01-15 10:00", utc))
    slot, count = rhythm.skip_missed(start, at(now, utc))
    assert slot.moment == at(following, utc)
    assert count == missed


def test_interval_that_was_never_due_makes_one_step():
    rhythm = Recurrence(schedule_type="H", zone=BERLIN)
    start = Slot(at("2026-01-15 10:00"))
    slot, missed = rhythm.skip_missed(start, at("2026-01-01 00:00"))
    assert (slot.moment, missed) == (at("2026-01-15 11:00"), 0)


def test_missed_slots_of_cron_are_counted_only_so_far():
    rhythm = Recurrence(schedule_type="C", cron="* * * * *", zone=BERLIN)
    start, now = Slot(at("2026-01-01 00:00")), at("2026-09-01 12:34:56")
    slot, missed = rhythm.skip_missed(start, now)
    assert slot.moment == at("2026-09-01 12:35")
    assert missed == MOST_COUNTED


# ------------------------------------------------------------------------- cron


def cron_runs(cron: str, start: str, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    rhythm = Recurrence(schedule_type="C", cron=cron, zone=zone)
    return shown(runs(rhythm, Slot(at(start, zone)), count), zone)


def test_cron_goes_on_from_the_run_before_not_from_now():
    assert cron_runs("0 4 * * *", "2020-01-01 04:00", 2) == [
        "01-02 04:00 +0100",
        "01-03 04:00 +0100",
    ]


def test_cron_that_clocks_skip_runs_late_once():
    assert cron_runs("30 2 * * *", "2026-03-28 02:30", 2) == [
        "03-29 03:00 +0200",
        "03-30 02:30 +0200",
    ]


def test_several_skipped_times_of_cron_are_one_run():
    assert cron_runs("*/15 2 * * *", "2026-03-28 02:45", 2) == [
        "03-29 03:00 +0200",
        "03-30 02:00 +0200",
    ]


def test_cron_that_clocks_repeat_runs_once():
    assert cron_runs("30 2 * * *", "2026-10-24 12:00", 2) == [
        "10-25 02:30 +0200",
        "10-26 02:30 +0100",
    ]
    assert cron_runs("0 */2 * * *", "2026-10-25 00:30", 3) == [
        "10-25 02:00 +0200",
        "10-25 04:00 +0100",
        "10-25 06:00 +0100",
    ]


def test_cron_asked_within_the_repeated_hour_does_not_go_back():
    second = at("2026-10-25 02:10").replace(fold=1)
    found = next_run("C", second, cron="30 2 * * *", zone=BERLIN)
    assert shown([found]) == ["10-26 02:30 +0100"]


def test_hourly_cron_runs_in_both_repeated_hours_and_in_no_skipped_one():
    assert cron_runs("0 * * * *", "2026-10-25 01:00", 4) == [
        "10-25 02:00 +0200",
        "10-25 02:00 +0100",
        "10-25 03:00 +0100",
        "10-25 04:00 +0100",
    ]
    assert cron_runs("15 * * * *", "2026-03-29 01:15", 2) == [
        "03-29 03:15 +0200",
        "03-29 04:15 +0200",
    ]


def test_cron_with_half_an_hour_of_daylight_saving():
    assert cron_runs("45 * * * *", "2026-10-04 01:45", 2, LORD_HOWE) == [
        "10-04 02:45 +1100",
        "10-04 03:45 +1100",
    ]
    assert cron_runs("*/15 * * * *", "2026-04-05 01:30", 4, LORD_HOWE) == [
        "04-05 01:45 +1100",
        "04-05 01:30 +1030",
        "04-05 01:45 +1030",
        "04-05 02:00 +1030",
    ]


@settings(max_examples=60, deadline=None)
@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    zone=st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE]),
    minute=st.sampled_from(["*", "0", "7", "45", "*/20"]),
)
def test_cron_of_every_hour_agrees_with_looking_at_each_minute(
    start: datetime, zone: ZoneInfo, minute: str
):
    allowed = {"*": range(60), "*/20": (0, 20, 40)}.get(minute) or (int(minute),)
    after = place(start, zone).moment
    moment = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while moment.astimezone(zone).minute not in allowed:
        moment += timedelta(minutes=1)
    assert next_run("C", after, cron=f"{minute} * * * *", zone=zone) == moment


@settings(max_examples=100, deadline=None)
@given(
    start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),
    zone=st.sampled_from(ZONES),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
)
def test_daily_cron_runs_once_on_each_day_of_the_calendar(
    start: datetime, zone: ZoneInfo, hour: int, minute: int
):
    cron = f"{minute} {hour} * * *"
    rhythm = Recurrence(schedule_type="C", cron=cron, zone=zone)
    moments = runs(rhythm, place(start, zone), 10)
    days = [moment.astimezone(zone).date() for moment in moments]
    assert {b - a for a, b in pairwise(days)} == {timedelta(days=1)}


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("@yearly", "2027-01-01 00:00"),
        ("@annually", "2027-01-01 00:00"),
        ("@monthly", "2026-06-01 00:00"),
        ("@weekly", "2026-05-17 00:00"),
        ("@daily", "2026-05-13 00:00"),
        ("@midnight", "2026-05-13 00:00"),
        (" @Hourly ", "2026-05-12 11:00"),
    ],
)
def test_cron_has_its_aliases(alias: str, expected: str):
    found = next_run("C", at("2026-05-12 10:30"), cron=alias, zone=BERLIN)
    assert found == at(expected)


def test_sixth_field_of_cron_is_the_seconds():
    found = next_run("C", at("2026-05-12 10:30"), cron="0 2 * * * 30", zone=BERLIN)
    assert found == at("2026-05-13 02:00:30")


def test_cron_of_years_that_are_over_has_nothing_to_follow():
    assert cron_runs("0 4 1 1 * 0 2027,2029", "2026-05-12 10:30", 2) == [
        "01-01 04:00 +0100",
        "01-01 04:00 +0100",
    ]
    with pytest.raises(NothingFollows):
        cron_runs("0 4 1 1 * 0 2027", "2027-01-01 04:00", 1)


def test_first_match_may_be_the_start_itself():
    start = at("2026-05-12 10:30")
    assert first_match("30 10 * * *", start, BERLIN) == start
    assert first_match("31 10 * * *", start, BERLIN) == at("2026-05-12 10:31")
    later = start + timedelta(microseconds=1)
    assert first_match("30 10 * * *", later, BERLIN) == at("2026-05-13 10:30")


def test_schedule_of_cron_without_expression_is_refused():
    with pytest.raises(ValueError, match="isn't a cron expression"):
        next_run("C", at("2026-05-12 10:30"), zone=BERLIN)


def test_all_kinds_of_schedule_are_known():
    kinds = {recurrence.MINUTES, recurrence.HOURLY, recurrence.YEARLY, recurrence.CRON}
    kinds |= {recurrence.ONCE} | recurrence.DAYS.keys() | recurrence.MONTHS.keys()
    assert kinds == {"O", "I", "H", "D", "W", "BW", "M", "BM", "Q", "Y", "C"}
