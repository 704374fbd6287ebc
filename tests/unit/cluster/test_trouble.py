"""Trouble that goes on: longer and longer pauses, and few lines."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import ModuleType

import pytest
from django.db import OperationalError

from django_q.cluster import trouble
from django_q.cluster.trouble import LONG_SILENCE, SAY_AGAIN, Trouble
from tests.unit.cluster.making import Clock


@pytest.fixture
def clock(clock_of: Callable[[ModuleType], Clock]) -> Clock:
    return clock_of(trouble)


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "django-q")


AWAY = OperationalError("the server went away")


def test_pauses_grow_up_to_a_bound(clock: Clock) -> None:
    state = Trouble(0.5, 3.0)
    assert state.rest == 0
    assert [state.begin("it failed", AWAY) for _ in range(5)] == [0.5, 1, 2, 3, 3]
    clock.now += 2
    assert state.rest == 1
    state.end("it works")
    clock.now += 1
    assert state.is_due, "a pause tells nothing"
    state.end("it works")
    assert state.begin("it failed", AWAY) == 0.5


def test_it_is_told_at_once_then_once_a_minute_and_at_the_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    state = Trouble()
    for _second in range(2 * int(SAY_AGAIN) + 1):
        state.begin("it failed", AWAY)
        clock.now += 1
    clock.now += 4
    state.end("it works")
    state.end("it works")
    assert [record.getMessage() for record in caplog.records] == [
        "it failed (the server went away). Trying again in 0.1 s",
        "it failed (the server went away), 61 times in 60 s. Trying again in 3.0 s",
        "it failed (the server went away), 121 times in 120 s. Trying again in 3.0 s",
        "it works again, after 125.0 s",
    ]


def test_only_a_surprise_comes_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Trouble().begin("it failed", AWAY)
    Trouble().begin("it failed", KeyError("x"))
    outage, surprise = caplog.records
    assert not outage.exc_info
    assert surprise.exc_info


def test_error_without_a_text_is_called_by_its_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Trouble().begin("it failed", TimeoutError())
    assert caplog.messages == ["it failed (TimeoutError). Trying again in 0.1 s"]


def test_who_answers_late_is_told_of_once_a_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    state = Trouble()
    for seconds in (LONG_SILENCE - 1, LONG_SILENCE, 7, SAY_AGAIN, 8):
        with state.watch("the broker"):
            clock.now += seconds
    assert [record.getMessage() for record in caplog.records] == [
        "the broker was silent for 5.0 s",
        "the broker was silent for 60.0 s",
    ]


def test_silence_that_ends_in_an_error_is_no_line_of_its_own(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_at_last() -> None:
        with Trouble().watch("the broker"):
            clock.now += 9
            raise AWAY

    with pytest.raises(OperationalError):
        fail_at_last()
    assert not caplog.records
