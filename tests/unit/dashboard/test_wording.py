"""How figures are worded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils.translation import override

from django_q.clock import now
from django_q.dashboard.wording import (
    clock,
    columns,
    cut,
    duration,
    fit,
    moment,
    number,
)
from tests.unit.dashboard.figures import NOON


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0, "0 s"),
        (-3, "0 s"),
        (0.021, "0.021 s"),
        (0.4, "0.4 s"),
        (0.214, "0.21 s"),
        (3.29, "3.2 s"),
        (42.9, "42 s"),
        (59.99, "59 s"),
        (724.331947, "12 min 04 s"),
        (2 * 3600 + 11 * 60, "2 h 11 min"),
        (4 * 86400 + 2 * 3600 + 11 * 60, "4 d 02:11"),
    ],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0:00:00"), (61, "0:01:01"), (98 * 3600 + 660.5, "98:11:00"), (-1, "0:00:00")],
)
def test_time_that_a_cluster_is_up(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_numbers_have_the_separators_of_the_language() -> None:
    assert number(1204) == "1,204"
    assert number(None) == "-"
    with override("de"):
        assert number(1204) == "1.204"


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (0, "12:00"),
        (1, "Sun 12:00"),
        (6, "Fri 12:00"),
        (7, "2026-11-28"),
        (-1, "2026-11-20"),
    ],
)
def test_moments(days: int, words: str) -> None:
    with time_machine.travel(NOON, tick=False):
        assert moment(NOON + timedelta(days=days)) == words


def test_moment_that_nobody_knows() -> None:
    assert moment(None) == "-"


def test_moments_are_local(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    here = moment(now())
    settings.TIME_ZONE = "UTC"

    assert here[-5:] != moment(now())[-5:]


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0)]
)
def test_columns_that_a_text_takes(text: str, width: int) -> None:
    assert columns(text) == width


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("orion", 5, "orion"),
        ("orion", 4, "ori…"),
        ("日本語", 5, "日本…"),
        ("日本語", 4, "日…"),
        ("orion", 1, "…"),
        ("orion", 0, ""),
    ],
)
def test_text_is_cut_to_its_columns(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown
    assert columns(cut(text, width)) <= width


@pytest.mark.parametrize("text", ["a", "日本語日本語", "\x1b[31mred", "a\nb", "x" * 99])
def test_a_cell_takes_exactly_its_columns_and_has_no_control_codes(text: str) -> None:
    for width in (4, 8, 11):
        for right in (True, False):
            cell = fit(text, width, right=right)
            assert columns(cell) == width
            assert cell.isprintable()
