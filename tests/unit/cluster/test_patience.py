"""For how long the pusher sleeps when it knows that the queue has more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from django_q.brokers import Broker, Delivery
from django_q.cluster import hands, looks
from django_q.cluster.board import Cell, State, Turn
from django_q.cluster.hands import LONG_STAND, STUCK_AFTER, Hand
from tests.unit.cluster.actors import StepwisePusher, lone_pusher
from tests.unit.cluster.making import Clock

HOURS = 10_000.0


@pytest.fixture
def pusher(monkeypatch: pytest.MonkeyPatch) -> StepwisePusher:
    """It may hold three packages that nobody has begun, and its look is long overdue."""
    monkeypatch.setattr(hands, "sleep", lambda _pause: None)
    clock = Clock()
    monkeypatch.setattr(looks, "monotonic", clock)
    pusher = lone_pusher()
    pusher.options = replace(pusher.options, queue_limit=3)
    pusher.recovery.is_under_way = False
    pusher.broker = Broker("q")
    pusher.more = True
    clock.now += HOURS
    pusher.hands = {n: Hand(n, pusher.board.rows[n], pusher.control) for n in (0, 1)}
    return pusher


def give(pusher: StepwisePusher, worker: int, count: int) -> None:
    for n in range(count):
        pusher.ledger.take(Delivery(f"{worker}:{n}", f"{worker} {n}"))
    pusher.ledger.hand(worker, count)


def occupy(pusher: StepwisePusher, worker: int) -> None:
    pusher.hands[worker].row[Cell.TURN] = Turn(1, State.RUNNING, 0).pack()


def test_it_fetches_at_once_while_there_is_room(pusher: StepwisePusher) -> None:
    give(pusher, 0, 1)
    assert pusher.patience() == 0


def test_it_is_called_when_all_are_busy_and_have_enough(pusher: StepwisePusher) -> None:
    for worker, count in ((0, 1), (1, 2)):
        occupy(pusher, worker)
        give(pusher, worker, count)
    assert pusher.patience() == LONG_STAND / 2


def test_nobody_calls_when_an_idle_worker_begins_the_last_that_may_wait(
    pusher: StepwisePusher,
) -> None:
    occupy(pusher, 0)
    give(pusher, 1, 3)
    assert pusher.patience() == STUCK_AFTER / 2
