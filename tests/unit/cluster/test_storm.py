"""Restarts of what dies again and again are held back."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from django_q.cluster import storm as module
from django_q.cluster.storm import DEATHS, LONGEST_PAUSE, WITHIN, Storm
from tests.unit.cluster.making import Clock


@pytest.fixture
def clock(clock_of: Callable[[ModuleType], Clock]) -> Clock:
    return clock_of(module)


@pytest.fixture
def pause_of(clock: Clock) -> Callable[[Storm, str], float]:
    """How long a storm holds back a kind from now on."""

    def pause_of(storm: Storm, kind: str) -> float:
        begun = clock.now
        while not storm.permits(kind):
            clock.now += 0.125
        return clock.now - begun

    return pause_of


def test_what_never_died_may_start() -> None:
    assert Storm().permits("worker")


def test_a_few_deaths_are_replaced_at_once(clock: Clock) -> None:
    storm = Storm()
    for _ in range(DEATHS - 1):
        storm.note_death("worker")
        assert storm.permits("worker")


def test_pauses_double_up_to_their_bound(
    pause_of: Callable[[Storm, str], float],
) -> None:
    storm = Storm()
    for _ in range(DEATHS - 1):
        storm.note_death("worker")
    pauses = []
    for _ in range(5):
        storm.note_death("worker")
        pauses.append(pause_of(storm, "worker"))
    assert pauses == [0.5, 1.0, 2.0, 4.0, LONGEST_PAUSE]


def test_slow_deaths_are_no_storm(clock: Clock) -> None:
    storm = Storm()
    for _ in range(50):
        clock.now += WITHIN / (DEATHS - 1) + 0.1
        storm.note_death("worker")
        assert storm.permits("worker")


def test_a_quiet_while_ends_it(
    clock: Clock, pause_of: Callable[[Storm, str], float]
) -> None:
    storm = Storm()
    for _ in range(DEATHS + 2):
        storm.note_death("worker")
    pause_of(storm, "worker")
    clock.now += WITHIN + 1
    for _ in range(DEATHS - 1):
        storm.note_death("worker")
        assert storm.permits("worker")
    storm.note_death("worker")
    assert pause_of(storm, "worker") == 0.5


def test_kinds_do_not_hold_back_each_other(clock: Clock) -> None:
    storm = Storm()
    for _ in range(DEATHS):
        storm.note_death("monitor")
    assert not storm.permits("monitor")
    assert storm.permits("worker")
    assert storm.permits("pusher")
