"""The protocol between pusher, worker and monitor, against chance.

Each schedule kills up to eight roles between any two steps. Every rule has a mutant
that breaks it: were none of them caught, the model would prove nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_q.brokers import Broker
from django_q.cluster import hands, recovery
from django_q.cluster.ledger import Death, Ledger
from django_q.cluster.recovery import Recovery
from tests.unit.cluster.actors import make_actor
from tests.unit.cluster.world import Rules, Violation, World

SCHEDULES = 400
BLOCK = 50


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    """Run one schedule to its end: time and waiting are the world's own."""

    def play(seed: int, rules: Rules = Rules()) -> World:  # noqa: B008 - immutable
        world = World(seed, make_actor, rules)
        monkeypatch.setattr(recovery, "monotonic", lambda: world.time)
        monkeypatch.setattr(hands, "sleep", lambda _pause: world.let_others_act())
        world.run()
        return world

    return play


@pytest.mark.parametrize("first", range(0, SCHEDULES, BLOCK))
def test_every_task_ends_once_whoever_dies(
    play: Callable[..., World], first: int
) -> None:
    for seed in range(first, first + BLOCK):
        world = play(seed)
        assert len(world.done) == world.tasks, f"schedule {seed}"


@pytest.mark.parametrize("first", range(0, SCHEDULES, 2 * BLOCK))
def test_so_it_is_where_workers_have_several_tasks_at_once(
    play: Callable[..., World], first: int
) -> None:
    for seed in range(first, first + BLOCK):
        world = play(seed, Rules(places=4))
        assert len(world.done) == world.tasks, f"schedule {seed}"


def test_schedules_are_lively(play: Callable[..., World]) -> None:
    worlds = [play(seed) for seed in range(40)]
    assert sum(world.killed["worker"] for world in worlds) > 20
    assert sum(world.killed["pusher"] for world in worlds) > 20
    assert sum(world.killed["monitor"] for world in worlds) > 20
    assert sum(world.repeated for world in worlds) > 5


# -- mutants


class ForgetfulLedger(Ledger):
    """What had arrived is not parked when the monitor dies."""

    def park_arrived(self) -> None:
        pass


class HastyRecovery(Recovery):
    """The monitor is not asked what had come from a dead worker."""

    def _ask_for_last_words(self, death: Death) -> None:
        if self._ledger.bury(death):
            self.testify(death.generation, [])
        else:
            self._buried(death)


class TrustingRecovery(Recovery):
    """Something is given out again although the lease is over."""

    def _give_out_again(self, broker: Broker, entries: Any) -> None:
        for entry in entries:
            self._ledger.free_again(entry)


class ImpatientRecovery(Recovery):
    """Nobody waits until the workers have told the new monitor what they keep."""

    def _reconcile(self, broker: Broker, arrived: set[int], greeted: set[int]) -> None:
        super()._reconcile(broker, arrived, greeted | set(range(1000)))


class BackwardRecovery(Recovery):
    """The broker is read first, and the board last."""

    def _reconcile(self, broker: Broker, arrived: set[int], greeted: set[int]) -> None:
        self._board_said = self._running_now()
        super()._reconcile(broker, arrived, greeted)


class CarelessRecovery(Recovery):
    """What a worker dropped of a former pusher's parcels is never missed."""

    def _park_dropped(self) -> None:
        pass


MUTANTS = {
    "the turn is cleared before the end is sent": Rules(clear_before_send=True),
    "a new pusher does not raise void": Rules(raise_void=False),
    "void may fall again": Rules(void_grows=False),
    "why something is to start again stays here": Rules(reasons_go_back=False),
    "no second witness": Rules(recovery=HastyRecovery),
    "what had arrived is not parked": Rules(ledger=ForgetfulLedger),
    "no check of the lease": Rules(recovery=TrustingRecovery),
    "nobody waits for the greeting": Rules(recovery=ImpatientRecovery),
    "the board is read last": Rules(recovery=BackwardRecovery),
    "dropped parcels of a former pusher are not missed": Rules(
        recovery=CarelessRecovery
    ),
}


FIRST_SEED = {
    "the turn is cleared before the end is sent": 210,
    "what had arrived is not parked": 920,
    "no check of the lease": 420,
    "the board is read last": 1270,
}
"""A little before the first schedule that tells; others need fewer than 150."""


@pytest.mark.parametrize("name", MUTANTS)
def test_model_notices_that(play: Callable[..., World], name: str) -> None:
    first = FIRST_SEED.get(name, 0)
    for seed in range(first, first + 3000):
        try:
            play(seed, MUTANTS[name])
        except Violation:
            return
    pytest.fail(f"nobody noticed that {name}")
