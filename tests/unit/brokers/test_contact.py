"""Who may judge the leases of others."""

from __future__ import annotations

import pytest
import time_machine

from django_q.brokers import contact
from django_q.brokers.contact import Contact

LEASE = 30.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that is set by hand."""
    moment = [1000.0]
    monkeypatch.setattr(contact, "monotonic", lambda: moment[0])
    return moment


def reach(mine: Contact, clock: list[float], *pauses: float) -> None:
    for pause in pauses:
        clock[0] += pause
        mine.note()


def test_nobody_is_steady_before_a_whole_lease(clock: list[float]) -> None:
    mine = Contact(LEASE)
    assert not mine.is_steady
    reach(mine, clock, 0, 10, 10)
    assert not mine.is_steady
    reach(mine, clock, 10)
    assert mine.is_steady


def test_gap_in_which_others_may_have_lost_their_leases_begins_anew(
    clock: list[float],
) -> None:
    mine = Contact(LEASE)
    reach(mine, clock, 0, 10, 10, 10, 21)
    assert not mine.is_steady
    reach(mine, clock, 15, 15)
    assert mine.is_steady


def test_gap_that_costs_nobody_a_lease_is_none(clock: list[float]) -> None:
    mine = Contact(LEASE)
    reach(mine, clock, 0, 19, 19)
    assert mine.is_steady


def test_failure_begins_anew(clock: list[float]) -> None:
    mine = Contact(LEASE)
    reach(mine, clock, 0, 15, 15)
    mine.lose()
    reach(mine, clock, 1)
    assert not mine.is_steady


def test_clock_that_was_put_forward_begins_anew(clock: list[float]) -> None:
    mine = Contact(LEASE)
    with time_machine.travel(0, tick=False) as shown:
        reach(mine, clock, 0, 15, 15)
        shown.shift(3600)
        reach(mine, clock, 1)
        assert not mine.is_steady


def test_clock_that_was_put_back_or_a_little_forward_changes_nothing(
    clock: list[float],
) -> None:
    mine = Contact(LEASE)
    with time_machine.travel(0, tick=False) as shown:
        reach(mine, clock, 0, 15, 15)
        for step in (LEASE / 2, -3600):
            shown.shift(step)
            reach(mine, clock, 1)
    assert mine.is_steady
