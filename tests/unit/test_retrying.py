"""Whether a failed task runs again, and when."""

from __future__ import annotations

from typing import Any

import pytest

from django_q import clock
from django_q.envelope import Envelope
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.retrying import (
    LONGEST_PAUSE,
    attempts_allowed,
    draw_pause,
    pause_before_retry,
    repeats_for_ever,
)


def outcome(attempt: int = 1, cause: Cause = Cause.RAISED, **options: Any) -> Outcome:
    return Outcome(
        envelope=Envelope.from_call("a.b", (), {}, options),
        success=cause is Cause.RETURNED,
        result=None,
        stopped=clock.now(),
        cause=cause,
        attempt=attempt,
    )


def test_a_failed_task_is_not_repeated_by_default() -> None:
    assert pause_before_retry(outcome(), Options()) is None


def test_a_success_is_never_repeated() -> None:
    options = Options(max_attempts=5, ack_failures=False)
    assert pause_before_retry(outcome(cause=Cause.RETURNED), options) is None


@pytest.mark.parametrize("cause", [Cause.RAISED, Cause.TIMED_OUT])
def test_so_many_attempts_and_no_more(cause: Cause) -> None:
    options = Options(max_attempts=3)
    pauses = [
        pause_before_retry(outcome(attempt, cause), options) for attempt in (1, 2, 3)
    ]
    assert pauses[0] is not None
    assert pauses[1] is not None
    assert pauses[2] is None


def test_a_task_has_its_own_number_of_attempts() -> None:
    assert attempts_allowed(outcome(max_attempts=7).envelope, Options()) == 7
    assert attempts_allowed(outcome().envelope, Options(max_attempts=4)) == 4
    assert pause_before_retry(outcome(max_attempts=1), Options(max_attempts=4)) is None


def test_an_acknowledged_failure_is_not_repeated() -> None:
    assert attempts_allowed(outcome(ack_failure=True).envelope, Options()) == 1
    options = Options(max_attempts=4)
    assert pause_before_retry(outcome(ack_failure=True), options) is None


def test_a_task_whose_worker_died_too_often_is_over() -> None:
    options = Options(max_attempts=9)
    assert pause_before_retry(outcome(cause=Cause.LOST), options) is None


@pytest.mark.parametrize(
    ("setting", "own", "repeats"),
    [
        (None, None, False),
        (False, None, True),
        (True, None, False),
        (None, False, True),
        (False, True, False),
        (True, False, True),
    ],
)
def test_an_explicit_no_to_acknowledging_failures_repeats_for_ever(
    setting: bool | None, own: bool | None, repeats: bool
) -> None:
    options = Options(ack_failures=setting, retry=90)
    ended = outcome(attempt=1000, ack_failure=own)
    assert repeats_for_ever(ended.envelope, options) is repeats
    assert pause_before_retry(ended, options) == (90 if repeats else None)


def test_a_number_of_attempts_ends_repeating_for_ever() -> None:
    options = Options(ack_failures=False, max_attempts=2)
    assert pause_before_retry(outcome(attempt=2), options) is None
    own = outcome(attempt=2, max_attempts=2)
    assert pause_before_retry(own, Options(ack_failures=False)) is None


def test_the_bound_of_the_pause_doubles_up_to_its_limit() -> None:
    options = Options(retry_delay=1, retry_delay_max=10)
    longest = [
        max(draw_pause(outcome(attempt), options) for _ in range(300))
        for attempt in (1, 2, 3, 4, 5, 500)
    ]
    for seen, bound in zip(longest, (1, 2, 4, 8, 10, 10), strict=True):
        assert bound * 0.9 < seen <= bound


def test_the_pause_is_anything_between_nothing_and_its_bound() -> None:
    options = Options(retry_delay=8, retry_delay_max=8)
    drawn = [draw_pause(outcome(), options) for _ in range(300)]
    assert min(drawn) < 1
    assert 3 < sum(drawn) / len(drawn) < 5


@pytest.mark.parametrize("seconds", [1e12, 1e308])
def test_no_pause_is_longer_than_databases_can_tell(seconds: float) -> None:
    ended = outcome(attempt=99, retry_delay=seconds, retry_delay_max=seconds)
    pauses = [draw_pause(ended, Options()) for _ in range(50)]
    assert max(pauses) <= LONGEST_PAUSE


def test_a_task_has_its_own_pauses() -> None:
    ended = outcome(attempt=9, retry_delay=0, retry_delay_max=100)
    assert draw_pause(ended, Options(retry_delay=50)) == 0
    ended = outcome(attempt=9, retry_delay=9, retry_delay_max=0)
    assert draw_pause(ended, Options()) == 0
