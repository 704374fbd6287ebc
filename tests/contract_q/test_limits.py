"""What a cluster holds or does at once is bounded, whatever happens outside."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from django_q.brokers.memory import Memory
from django_q.cluster import housekeeper, working
from django_q.cluster.board import Word
from django_q.cluster.frames import Kind, control
from django_q.cluster.housekeeper import (
    LOOK_FOR_LAPSED,
    PRUNE_AFTER,
    PRUNE_AGAIN,
    PRUNE_EVERY,
    PRUNE_SELDOM,
    Housekeeper,
)
from django_q.cluster.lines import Line
from django_q.cluster.working import Worker
from django_q.envelope import Envelope, new_id
from django_q.models import Task
from django_q.options import Options
from django_q.results.encoding import ERROR_SIZE
from tests.unit.cluster.making import Clock, make_launch, make_parcel
from tests.unit.results.making import ended, record_of


class Desk:
    """A worker in this process, with the other ends of its lines."""

    def __init__(self) -> None:
        (ours, sentinel), (to_monitor, monitor) = Line.pair(), Line.pair()
        self.worker = Worker(make_launch("worker", ours))
        self.worker.board[Word.LEASE_UNTIL] = 2**63
        self.sentinel, self.monitor = Line(sentinel), Line(monitor)
        self.worker.meet("monitor", 1, 0, Line(to_monitor))

    def fill(self, count: int) -> None:
        """It gets so many tasks whose results have a thousand bytes and more."""
        for number in range(1, count + 1):
            task = Envelope.from_call("operator.mul", ("x", 1000), {}, {})
            package = task.seal()
            self.worker.inbox.append(make_parcel(number, package=package))

    def turn(self) -> None:
        # Something to hear, so that it does not wait.
        self.sentinel.send(control(Kind.READY))
        self.worker.turn()

    def close(self) -> None:
        self.worker.runner.close()
        lines = (self.worker.control, self.worker.monitor, self.sentinel, self.monitor)
        for line in lines:
            assert line is not None
            line.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [{"MOST_KEPT": 3}, {"KEPT_BYTES": 4000}])
def test_worker_begins_nothing_while_it_keeps_many_ends_that_are_not_saved(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, limit: dict[str, Any]
) -> None:
    for name, value in limit.items():
        monkeypatch.setattr(working, name, value)
    desk.fill(10)
    for _ in range(10):
        desk.turn()
    kept = list(desk.worker.kept)
    assert kept == [1, 2, 3]
    assert len(desk.worker.inbox) == 7
    desk.monitor.send(control(Kind.SAVED, numbers=kept[:1], discarded=[]))
    for _ in range(10):
        desk.turn()
    assert list(desk.worker.kept) == [2, 3, 4]


def test_error_of_one_attempt_is_cut() -> None:
    failed = ended("x" * 20_000, success=False, attempt=2, max_attempts=3)
    assert len(record_of(failed).error) == ERROR_SIZE


class Graveyard(Memory):
    """Other clusters have died with much in hand."""

    left = 0

    def rescue(self) -> list[str]:
        some = min(self.left, self.rescued_at_once)
        self.left -= some
        return ["task"] * some


@pytest.fixture
def keeper() -> Iterator[Housekeeper]:
    """Who keeps one success."""
    ours, sentinel = Line.pair()
    keeper = Housekeeper(
        make_launch(
            "housekeeper", ours, options=Options(save_limit=1), broker=Memory("kept")
        )
    )
    keeper.setup()
    yield keeper
    keeper.teardown()
    keeper.control.close()
    sentinel.close()


def add_successes(count: int) -> None:
    now = timezone.now()
    times = {"started": now, "stopped": now}
    Task.objects.bulk_create(Task(id=new_id(), **times) for _ in range(count))


@pytest.mark.django_db
def test_housekeeper_prunes_soon_again_where_there_was_something(
    keeper: Housekeeper,
) -> None:
    add_successes(2)
    assert [keeper.pruning.prune() for _ in range(2)] == [PRUNE_AGAIN, PRUNE_EVERY]


@pytest.mark.django_db
def test_housekeeper_looks_the_seldomer_the_longer_it_takes(
    keeper: Housekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_successes(2)
    monkeypatch.setattr(housekeeper, "LOOK_TO_PRUNE", 1e-6)
    assert keeper.pruning.prune() > 10 * PRUNE_AGAIN
    assert keeper.pruning.prune() > 10 * PRUNE_EVERY


@pytest.fixture
def clock(keeper: Housekeeper, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """After the first look for what is too much, which found nothing."""
    clock = Clock()
    monkeypatch.setattr(housekeeper, "monotonic", clock)
    keeper.pruning.perform()
    return clock


@pytest.mark.django_db
def test_busy_cluster_prunes_sooner(keeper: Housekeeper, clock: Clock) -> None:
    clock.now += PRUNE_AGAIN
    keeper.board[Word.FINISHED] += PRUNE_AFTER - 1
    assert not keeper.pruning.is_due()
    keeper.board[Word.FINISHED] += 1
    assert keeper.pruning.is_due()
    keeper.pruning.perform()
    clock.now += PRUNE_AGAIN
    assert not keeper.pruning.is_due()


@pytest.mark.django_db
def test_busy_cluster_looks_the_seldomer_the_longer_it_takes(
    keeper: Housekeeper, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SimpleNamespace(prune=lambda: 0, has_more=False, looked=0.1)
    monkeypatch.setattr(keeper.pruning, "pruner", slow)
    keeper.pruning.perform()
    keeper.board[Word.FINISHED] += PRUNE_AFTER
    clock.now += slow.looked * PRUNE_SELDOM - 0.01
    assert not keeper.pruning.is_due()
    clock.now += 0.02
    assert keeper.pruning.is_due()


@pytest.mark.django_db
def test_busy_cluster_prunes_no_sooner_after_an_error(
    keeper: Housekeeper, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise OperationalError("down")

    monkeypatch.setattr(keeper.pruning.pruner, "prune", refuse)
    keeper.pruning.perform()
    keeper.board[Word.FINISHED] += PRUNE_AFTER
    clock.now += PRUNE_AGAIN
    assert not keeper.pruning.is_due()


@pytest.mark.django_db
def test_housekeeper_goes_on_at_once_while_there_is_more_to_rescue() -> None:
    (ours, sentinel), broker = Line.pair(), Graveyard("dead")
    keeper = Housekeeper(make_launch("housekeeper", ours, broker=broker))
    keeper.setup()
    keeper.broker.left = 2 * broker.rescued_at_once + 1  # type: ignore[attr-defined]
    assert [keeper.rescue() for _ in range(3)] == [0.0, 0.0, LOOK_FOR_LAPSED]
    keeper.teardown()
    keeper.control.close()
    sentinel.close()
