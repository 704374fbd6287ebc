"""Fetching: what is here is handed over first, and nobody waits while there is some."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from django_q.brokers import Broker, Delivery
from django_q.cluster import hands, pushing
from django_q.cluster.board import Word
from django_q.cluster.hands import Hand
from django_q.cluster.looks import Looks
from django_q.cluster.trouble import Trouble
from django_q.cluster.windows import WITH_STOCK
from tests.unit.cluster.actors import StepwisePusher, lone_pusher

WORKER = 7


class Storehouse(Broker):
    """Has a package for everybody who asks, and notes what the worker had by then."""

    supports_leases = True
    database = "default"

    def __init__(self, pusher: StepwisePusher) -> None:
        super().__init__("shop")
        self.pusher = pusher
        self.asked: list[int] = []

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        self.asked.append(len(self.pusher.ledger.hands.get(WORKER, {})))
        return [Delivery(f"new{len(self.asked)}:1", "new")]

    def renew(self, receipts: Any) -> set[str]:
        return set(receipts)


@pytest.fixture
def pusher(monkeypatch: pytest.MonkeyPatch) -> StepwisePusher:
    monkeypatch.setattr(hands, "sleep", lambda _pause: None)
    pusher = lone_pusher()
    pusher.broker, pusher.lease = Storehouse(pusher), 30.0
    pusher.recovery.is_under_way = False
    pusher.board[Word.LEASE_UNTIL] = 2**62
    pusher.more, pusher.looks, pusher.next_renewal = True, Looks(), inf
    monkeypatch.setattr(pusher, "collect", lambda: None)
    return pusher


def meet_worker(pusher: StepwisePusher) -> Hand:
    hand = Hand(WORKER, pusher.board.rows[0], pusher.control, recycle=500)
    pusher.hands[WORKER] = hand
    return hand


def have(pusher: StepwisePusher, count: int) -> None:
    for n in range(count):
        pusher.ledger.take(Delivery(f"{n}:1", str(n)))


def asked(pusher: StepwisePusher) -> list[int]:
    assert isinstance(pusher.broker, Storehouse)
    return pusher.broker.asked


def test_new_worker_has_what_is_here_before_more_is_fetched(
    pusher: StepwisePusher,
) -> None:
    have(pusher, 2)
    meet_worker(pusher)
    pusher.turn()
    assert asked(pusher) == [2]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_others_at_the_database_are_waited_for_only_with_too_little_here(
    pusher: StepwisePusher, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """As much as would be fetched is enough."""
    pusher.options = replace(pusher.options, bulk=2)
    monkeypatch.setattr(pushing, "is_contended", lambda alias: alias == "default")
    have(pusher, count)
    meet_worker(pusher).runs_left = 0
    pusher.turn()
    assert asked(pusher) == ([] if count == 2 else [0])


def test_with_something_here_it_is_soon_tried_again(pusher: StepwisePusher) -> None:
    hand = meet_worker(pusher)
    assert pusher.patience() == 0.0
    have(pusher, 1)
    hand.runs_left = 0
    assert pusher.patience() == pytest.approx(WITH_STOCK)


def test_what_nobody_may_have_now_is_not_enough(
    pusher: StepwisePusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a worker has room, whatever it is that it does not get."""
    monkeypatch.setattr(pushing, "is_contended", lambda _alias: True)
    monkeypatch.setattr(pusher, "hand_over", lambda: None)
    pusher.options = replace(pusher.options, bulk=2)
    have(pusher, 2)
    meet_worker(pusher)
    pusher.turn()
    assert asked(pusher) == [0]


def test_leases_are_renewed_also_when_starts_cannot_be_counted(
    pusher: StepwisePusher,
) -> None:
    broker = Stubborn(pusher)
    pusher.broker, pusher.trouble, pusher.next_renewal = broker, Trouble(0, 0), 0.0
    pusher.ledger.take(Delivery("1:1", "suspect", 1, 0, 0, 1))
    meet_worker(pusher)
    pusher.turn()
    assert broker.renewed == [{"1:1"}]


class Stubborn(Storehouse):
    """Does what it is told, but counts no starts."""

    def __init__(self, pusher: StepwisePusher) -> None:
        super().__init__(pusher)
        self.renewed: list[set[str]] = []

    def renew(self, receipts: Any) -> set[str]:
        self.renewed.append(set(receipts))
        return set(receipts)

    def mark_started(self, receipts: object) -> None:
        raise ConnectionError
