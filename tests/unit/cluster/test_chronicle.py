"""What the log says of ended runs, word for word."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from django_q.cluster.chronicle import BUSY, SUMMARY_EVERY, Chronicle
from tests.unit.cluster.making import make_record


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """The lines so far, with their level, from INFO on."""
    caplog.set_level(logging.DEBUG, "django-q")

    def lines(level: int = logging.INFO) -> list[str]:
        told = [r for r in caplog.records if r.levelno >= level]
        caplog.clear()
        return [f"{r.levelname} {r.getMessage()}" for r in told]

    return lines


def failure(**changes: Any) -> Any:
    facts = {"success": False, "cause": "raised", "summary": "ValueError: no"}
    return make_record(**(facts | changes))


def test_success(lines: Any) -> None:
    Chronicle().record([make_record()], 1.0)
    assert lines() == ["INFO ✓ shop.tasks.send [sodium-magnesium] in 0.4 s"]


def test_failure(lines: Any) -> None:
    Chronicle().record([failure()], 1.0)
    told = "ERROR ✕ shop.tasks.send [sodium-magnesium] failed: ValueError: no"
    assert lines() == [told]


def test_failure_that_is_tried_again(lines: Any) -> None:
    Chronicle().record([failure(pause=89.96, attempts_allowed=3)], 1.0)
    start = "WARNING ↻ shop.tasks.send [sodium-magnesium] "
    assert lines() == [start + "ValueError: no; attempt 2/3 in 90.0 s"]


def test_failure_that_is_repeated_for_ever(lines: Any) -> None:
    Chronicle().record([failure(attempt=8, pause=60.0, attempts_allowed=0)], 1.0)
    start = "WARNING ↻ shop.tasks.send [sodium-magnesium] "
    assert lines() == [start + "ValueError: no; attempt 9/∞ in 60.0 s"]


def test_last_failure_of_several(lines: Any) -> None:
    Chronicle().record([failure(attempt=3, attempts_allowed=3)], 1.0)
    start = "ERROR ✕ shop.tasks.send [sodium-magnesium] "
    assert lines() == [start + "gave up after 3 attempts: ValueError: no"]


def test_rejected_package_has_no_line(lines: Any) -> None:
    Chronicle().record([failure(cause="rejected")], 1.0)
    assert lines() == []


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("count", [1, BUSY + 5])
def test_names_cannot_forge_lines(lines: Any, count: int, *, success: bool) -> None:
    evil = "a\n00:00:00 [Q] INFO \x1b[2J"
    make = make_record if success else failure
    Chronicle().record([make(func=evil, name=evil, summary=evil)] * count, 1.0)
    for line in lines(logging.DEBUG):
        assert "\n" not in line
        assert "\x1b" not in line


def test_each_success_has_a_line_while_there_are_few(lines: Any) -> None:
    chronicle = Chronicle()
    for second in range(5):
        chronicle.record([make_record()] * BUSY, float(second))
    assert len(lines()) == 5 * BUSY
    chronicle.summarise(100.0)
    assert lines() == []


def test_many_successes_become_one_line(lines: Any) -> None:
    chronicle = Chronicle()
    waits = [n / 1000 for n in range(2000)]
    batch = [make_record(waited=wait) for wait in reversed(waits)]
    chronicle.record([make_record()] * BUSY, 100.0)
    assert len(lines()) == BUSY
    chronicle.record(batch, 100.5)
    assert lines() == []
    chronicle.summarise(100.5 + SUMMARY_EVERY - 0.1)
    assert lines() == []
    chronicle.summarise(100.5 + SUMMARY_EVERY)
    assert lines() == ["INFO 2,000 tasks in 10 s, 0 failed, wait p95 1.9 s"]
    chronicle.summarise(200.0)
    assert lines() == []


def test_summed_up_successes_are_told_to_who_asks_for_more(lines: Any) -> None:
    chronicle = Chronicle()
    chronicle.record([make_record()] * (BUSY + 1), 1.0)
    told = lines(logging.DEBUG)
    assert told[-1] == "DEBUG ✓ shop.tasks.send [sodium-magnesium] in 0.4 s"


def test_failures_have_their_lines_and_are_counted_also_when_it_is_busy(
    lines: Any,
) -> None:
    chronicle = Chronicle()
    chronicle.record([make_record()] * (BUSY + 7), 1.0)
    chronicle.record([failure(), failure()], 1.5)
    assert sum(line.startswith("ERROR") for line in lines()) == 2
    chronicle.summarise(1.5 + SUMMARY_EVERY)
    assert lines() == ["INFO 7 tasks in 10 s, 2 failed, wait p95 0.1 s"]


def test_failures_of_quiet_times_are_not_in_the_summary(lines: Any) -> None:
    chronicle = Chronicle()
    chronicle.record([failure()] * 3, 1.0)
    chronicle.record([make_record()] * (BUSY + 1), 5000.0)
    lines()
    chronicle.summarise(5000.0 + SUMMARY_EVERY)
    assert lines() == ["INFO 1 tasks in 10 s, 0 failed, wait p95 0.1 s"]
