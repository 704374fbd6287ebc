"""Cron: what expressions mean, and what is said of those that mean nothing."""

from __future__ import annotations

from datetime import datetime
from itertools import islice

import pytest

from django_q.cron import check_cron, explain, matches, runs_every_hour
from django_q.exceptions import NothingFollows

START = datetime(2026, 1, 15, 10, 7, 30)  # a Thursday


def found(cron: str, count: int) -> list[str]:
    """The first matches, as briefly as they can be told apart."""
    times = list(islice(matches(cron, START), count))
    return [f"{time:%Y-%m-%d %H:%M:%S}".removesuffix(":00") for time in times]


def days(cron: str, count: int) -> list[str]:
    return [text[5:10] for text in found(cron, count)]


# --------------------------------------------- what the releases before understood


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 22-1 * * *", "15 22:00, 15 23:00, 16 00:00, 16 01:00, 16 22:00"),
        ("0 22-4/2 * * *", "15 22:00, 16 00:00, 16 02:00, 16 04:00, 16 22:00"),
        ("50-10/5 11 * * *", "15 11:00, 15 11:05, 15 11:10, 15 11:50, 15 11:55"),
        ("5/20 11 * * *", "15 11:05, 15 11:25, 15 11:45, 16 11:05, 16 11:25"),
        ("0,30 11-12 * * 4", "15 11:00, 15 11:30, 15 12:00, 15 12:30, 22 11:00"),
        ("58-1 11 * * *", "15 11:00, 15 11:01, 15 11:58, 15 11:59, 16 11:00"),
    ],
)
def test_hours_and_minutes(cron: str, expected: str):
    assert ", ".join(text[8:] for text in found(cron, 5)) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 * * fri-mon", "01-16 01-17 01-18 01-19 01-23"),
        ("0 0 * * 5-1", "01-16 01-17 01-18 01-19 01-23"),
        ("0 0 * * sat-sun", "01-17 01-18 01-24 01-25 01-31"),
        ("0 0 * * 7-2", "01-18 01-19 01-20 01-25 01-26"),
        ("0 0 * * 5-7", "01-16 01-17 01-18 01-23 01-24"),
        ("0 0 * * SUN,Mon", "01-18 01-19 01-25 01-26 02-01"),
        ("0 0 * * 7", "01-18 01-25 02-01 02-08 02-15"),
        ("0 0 28-2 * *", "01-28 01-29 01-30 01-31 02-01"),
        ("0 0 1 nov-feb *", "02-01 11-01 12-01 01-01 02-01"),
        ("0 0 1 JAN-dec/3 *", "04-01 07-01 10-01 01-01 04-01"),
        ("0 0 L * *", "01-31 02-28 03-31 04-30 05-31"),
        ("0 0 15,l * *", "01-31 02-15 02-28 03-15 03-31"),
        ("0 0 * * L5", "01-30 02-27 03-27 04-24 05-29"),
        ("0 0 * * l7", "01-25 02-22 03-29 04-26 05-31"),
        ("0 0 * * L1,L3", "01-26 01-28 02-23 02-25 03-25"),
        ("0 0 * * 5#3", "01-16 02-20 03-20 04-17 05-15"),
        ("0 0 * * 1#1,wed#2", "02-02 02-11 03-02 03-11 04-06"),
    ],
)
def test_days_and_months(cron: str, expected: str):
    assert " ".join(days(cron, 5)) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 0 1 * 1", "01-19 01-26 02-01 02-02 02-09"),
        ("0 0 1-31 * 1", "01-16 01-17 01-18 01-19 01-20"),
        ("0 0 */10 * 1", "01-19 01-21 01-26 01-31 02-01"),
        ("0 0 1 * */6", "01-17 01-18 01-24 01-25 01-31"),
        ("0 0 */10 * */6", "01-17 01-18 01-21 01-24 01-25"),
        ("0 0 */10 * *", "01-21 01-31 02-01 02-11 02-21"),
        ("0 0 * * */6", "01-17 01-18 01-24 01-25 01-31"),
        ("0 0 ? * 1", "01-19 01-26 02-02 02-09 02-16"),
        ("0 0 1 * ?", "02-01 03-01 04-01 05-01 06-01"),
        ("0 0 ? * ?", "01-16 01-17 01-18 01-19 01-20"),
    ],
)
def test_days_of_both_fields_count_where_both_are_restricted(cron: str, expected: str):
    assert " ".join(days(cron, 5)) == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 4 * * * 15,45", ["2026-01-16 04:00:15", "2026-01-16 04:00:45"]),
        ("0 4 * * * 58-1/3", ["2026-01-16 04:00:01", "2026-01-16 04:00:58"]),
        ("0 4 * * * 0 2026", ["2026-01-16 04:00", "2026-01-17 04:00"]),
        ("0 4 1 1 * 0 *", ["2027-01-01 04:00", "2028-01-01 04:00"]),
        ("0 4 1 1 * 0 2028-2029", ["2028-01-01 04:00", "2029-01-01 04:00"]),
        ("0 4 1 1 * 0 2021/4", ["2029-01-01 04:00", "2033-01-01 04:00"]),
        ("0 4 1 1 * 0 */50", ["2070-01-01 04:00"]),
        ("0 0 1 1 * 0 2031,2027", ["2027-01-01 00:00", "2031-01-01 00:00"]),
    ],
)
def test_sixth_field_is_the_seconds_and_the_seventh_the_years(
    cron: str, expected: list[str]
):
    assert found(cron, len(expected)) == expected


def test_nothing_follows_the_last_year():
    with pytest.raises(NothingFollows, match="no date that ever comes"):
        found("0 4 1 1 * 0 2027", 2)


@pytest.mark.parametrize(
    ("cron", "every"), [("*/5 * * * *", True), ("0 5-4 * * *", True), ("@daily", False)]
)
def test_expression_of_every_hour_is_known(cron: str, *, every: bool):
    assert runs_every_hour(cron) is every


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("cron", "complaint"),
    [
        ("61 * * * *", "minute 61 is not between 0 and 59"),
        ("0 24 * * *", "hour 24 is not between 0 and 23"),
        ("0 0 0 * *", "day-of-month 0 is not between 1 and 31"),
        ("0 0 * 1-13 *", "month 13 is not between 1 and 12"),
        ("0 0 * * 9", "day-of-week 9 is not between 0 and 7"),
        ("0 0 * * * 60", "second 60 is not between 0 and 59"),
        ("0 0 31 2 *", "none of its months has 31 days"),
        ("0 0 30,31 2 *", "day-of-month '30,31' can't be understood"),
        ("x * * * *", "minute 'x' can't be understood"),
        ("0 0 * * 5-9", "day-of-week 9 is not between 0 and 7"),
        ("0 22-1/0 * * *", "hour '22-1/0' can't be understood"),
        ("0 0 * * L9", "day-of-week 9 is not between 0 and 7"),
        ("0 0 ? ? *", "month '?' can't be understood"),
        ("0 0 1 1 * 0 1969", "year 1969 is not between 1970 and 2099"),
        ("0 0 1 1 * 0 2030-2027", "year 2030-2027 is not between 1970 and 2099"),
        ("0 0 1 1 * 0 soon", "year 'soon' can't be understood"),
        ("0 0 1 1 * 0 2030/0", "year '2030/0' can't be understood"),
        ("0 0 1 1 * 0 2030 *", "it has 8 fields, not 5"),
        ("* * * *", "it has 4 fields, not 5"),
        ("", "it has 0 fields, not 5"),
        ("@never", "it has 1 fields, not 5"),
    ],
)
def test_what_is_no_cron_expression_says_why(cron: str, complaint: str):
    with pytest.raises(ValueError, match="isn't a cron expression") as caught:
        check_cron(cron)
    assert complaint in str(caught.value)


def test_cron_of_a_date_that_never_comes_is_refused():
    with pytest.raises(ValueError, match="no date that ever comes"):
        check_cron("0 0 29 2 * 0 2027")


# ---------------------------------------------------------------------- for people


def test_cron_can_be_said_in_english():
    assert explain("30 2 * * *") == "At 02:30 every day"
    assert explain("0 4 1 1 * 0 2027").endswith(" of 2027")
    assert explain("@hourly") == "At the start of every hour"
