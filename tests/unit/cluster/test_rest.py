"""How long a sentinel sleeps while nobody calls it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_q.cluster.board import Cell, State, pack_turn
from django_q.cluster.children import Child
from django_q.cluster.lines import Line
from django_q.cluster.sentinel import SINGLES, Sentinel
from tests.unit.cluster.making import make_launch


class Alive:
    """A process, as far as a sentinel that waits looks at it."""

    pid = 7
    sentinel = 10


class Said(list[bytes]):
    """What goes over the lines."""

    send = list.append


@pytest.fixture
def sentinel() -> Iterator[Sentinel]:
    """Of a whole cluster that has nothing to do."""
    ours, theirs = Line.pair()
    sentinel = Sentinel(make_launch("sentinel", ours, method="spawn"))
    sentinel.options = replace(sentinel.options, workers=1)
    process: Any = Alive()
    line: Any = Said()
    for kind in SINGLES:
        sentinel.singles[kind] = Child(kind, 1, "", process, line, handle=11)
    sentinel.pool.workers = [Child("worker", 1, "", process, line, row=0, handle=11)]
    sentinel.has_reported_ready = True
    yield sentinel
    sentinel.control.close()
    theirs.close()


def patience_of(sentinel: Sentinel) -> float:
    return sentinel._patience()  # noqa: SLF001 - how long it waits for news


def test_whole_idle_cluster_is_looked_at_in_half_the_grace(sentinel: Sentinel) -> None:
    assert sentinel.options.timeout_grace == 5.0
    assert patience_of(sentinel) == 2.5


@pytest.mark.parametrize("grace", [0.0, 0.5])
def test_task_that_begins_meanwhile_is_seen_in_time(
    sentinel: Sentinel, grace: float
) -> None:
    sentinel.options = replace(sentinel.options, timeout_grace=grace)
    assert patience_of(sentinel) == sentinel.options.guard_cycle


def test_busy_cluster_is_looked_at_often(sentinel: Sentinel) -> None:
    sentinel.board.rows[0][Cell.TURN] = pack_turn(1, State.RUNNING, 0)
    assert patience_of(sentinel) == sentinel.options.guard_cycle


def test_who_is_missing_may_soon_be_replaced(sentinel: Sentinel) -> None:
    del sentinel.singles["monitor"]
    assert patience_of(sentinel) == sentinel.options.guard_cycle


def test_who_does_not_tell_his_end_is_looked_at_often(sentinel: Sentinel) -> None:
    sentinel.singles["pusher"].handle = Alive.sentinel
    assert patience_of(sentinel) == sentinel.options.guard_cycle


def test_farewell_has_the_last_word_with_the_housekeeper(
    sentinel: Sentinel, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: Any = sentinel.singles["housekeeper"].line
    sentinel.report()
    assert len(said) == 1
    sentinel.report()
    assert len(said) == 1, "nothing has changed"
    sentinel.reincarnations += 1
    monkeypatch.setattr(sentinel.farewell, "expects", lambda _kind: True)
    sentinel.report()
    assert len(said) == 1
