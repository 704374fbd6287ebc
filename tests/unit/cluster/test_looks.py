"""When a pusher looks into a queue though nothing called."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Final

import pytest

from django_q.cluster import looks as module
from django_q.cluster.looks import LONG_AFTER, LOOK_EVERY, LOOK_OFTEN, Looks
from tests.unit.cluster.making import Clock

A_MOMENT: Final = 0.01


@pytest.fixture
def clock(clock_of: Callable[[ModuleType], Clock]) -> Clock:
    return clock_of(module)


@pytest.fixture
def looks(clock: Clock) -> Looks:
    """After the first look, which found nothing."""
    looks = Looks()
    assert looks.is_time(yes)
    looks.found_none(None)
    return looks


def yes() -> bool:
    return True


def no() -> bool:
    return False


def away() -> bool:
    raise ConnectionError


def test_now_and_then(looks: Looks, clock: Clock) -> None:
    assert not looks.is_time(yes)
    clock.now += looks.rest - A_MOMENT
    assert not looks.is_time(yes)
    clock.now += 2 * A_MOMENT
    assert looks.is_time(yes)
    assert looks.rest == LOOK_EVERY


def test_not_where_nothing_can_be_missed(looks: Looks, clock: Clock) -> None:
    clock.now += LOOK_EVERY
    assert not looks.is_time(no)
    assert looks.rest == LOOK_EVERY


def test_when_a_package_is_due_also_there(looks: Looks, clock: Clock) -> None:
    looks.found_none(2.0)
    assert looks.rest == 2.0
    clock.now += 2.0
    assert looks.is_time(no)
    assert not looks.is_time(no)
    assert looks.rest == LOOK_EVERY


def test_what_is_due_no_more_is_forgotten(looks: Looks, clock: Clock) -> None:
    looks.found_none(2.0)
    looks.found_none(None)
    clock.now += 2.0
    assert not looks.is_time(yes)


def test_more_often_for_a_while_after_somebody_did_not_call(
    looks: Looks, clock: Clock
) -> None:
    clock.now += LOOK_EVERY
    assert looks.is_time(yes)
    looks.found()
    look_often_for_a_while(looks, clock)


def test_more_often_for_a_while_after_somebody_delayed_one(
    looks: Looks, clock: Clock
) -> None:
    clock.now += LOOK_EVERY
    assert looks.is_time(yes)
    looks.found_none(2 * LONG_AFTER)
    look_often_for_a_while(looks, clock)


def test_what_was_delayed_before_is_no_reason(looks: Looks, clock: Clock) -> None:
    looks.found_none(2 * LONG_AFTER)
    clock.now += LOOK_EVERY
    assert looks.is_time(yes)
    looks.found_none(2 * LONG_AFTER - LOOK_EVERY)
    assert looks.rest == LOOK_EVERY


def look_often_for_a_while(looks: Looks, clock: Clock) -> None:
    until = clock.now + LONG_AFTER
    clock.now += LOOK_EVERY
    while clock.now < until:
        assert looks.is_time(yes)
        looks.found_none(None)
        assert looks.rest == LOOK_OFTEN
        clock.now += LOOK_OFTEN
    assert looks.is_time(yes)
    assert looks.rest == LOOK_EVERY


def test_soon_after_a_find_because_something_may_be_due_then(
    looks: Looks, clock: Clock
) -> None:
    looks.found()
    assert looks.rest == LOOK_OFTEN
    clock.now += LOOK_OFTEN / 2
    looks.found()
    assert looks.rest == LOOK_OFTEN / 2
    clock.now += LOOK_OFTEN
    assert looks.is_time(no)
    looks.found_none(None)
    assert looks.rest == LOOK_EVERY


def test_at_once_when_something_goes_back(looks: Looks) -> None:
    looks.expect()
    assert looks.is_time(no)
    assert not looks.is_time(no)


def test_what_was_called_for_or_was_due_is_no_reason(
    looks: Looks, clock: Clock
) -> None:
    looks.found()
    looks.found_none(LOOK_EVERY - 1)
    clock.now += LOOK_EVERY - 1
    assert looks.is_time(yes)
    looks.found()
    clock.now += LOOK_OFTEN
    assert looks.is_time(yes)
    looks.found_none(None)
    assert looks.rest == LOOK_EVERY


def test_broker_that_is_away_is_asked_again(looks: Looks, clock: Clock) -> None:
    clock.now += LOOK_EVERY
    with pytest.raises(ConnectionError):
        looks.is_time(away)
    assert looks.rest == 0.0
    assert looks.is_time(yes)
