"""Chores of the housekeeper: what goes wrong in one stays in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections

from django_q.cluster import housekeeper
from django_q.cluster.board import Cell, State, Word, pack_turn
from django_q.cluster.frames import Frame, Kind
from django_q.cluster.housekeeper import (
    FRESH,
    HEARTBEAT,
    LOOK_TOGETHER,
    Chore,
    Housekeeper,
)
from django_q.cluster.lines import Line
from tests.unit.cluster.making import make_launch


def test_connection_that_can_not_be_freshened_does_not_end_the_housekeeper(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_connection: Any) -> None:
        raise OSError("closed already")

    done: list[str] = []

    def sweep() -> float:
        done.append("swept")
        return 60.0

    chore = Chore("sweeping", sweep)
    monkeypatch.setattr(connections, "all", lambda **_how: [object()])
    monkeypatch.setattr(housekeeper, "freshen", refuse)
    chore.perform()
    assert "sweeping failed (closed already)" in caplog.text
    monkeypatch.setattr(housekeeper, "freshen", lambda _connection: None)
    chore.perform()
    assert done == ["swept"]


def test_chore_that_failed_is_not_done_before_its_time() -> None:
    def fail() -> float:
        raise OSError("not now")

    chore = Chore("trying", fail)
    chore.perform()
    chore.due -= 0.9
    assert not chore.is_due(early=0.5)
    other = Chore("trying", lambda: 0.4)
    other.perform()
    assert other.is_due(early=0.5)
    assert not other.is_due()


TOLD = {"status": "Idle", "workers": [1], "reincarnations": 0}


@pytest.fixture
def keeper() -> Iterator[Housekeeper]:
    """Whose heart has just beaten."""
    ours, theirs = Line.pair()
    keeper = Housekeeper(make_launch("housekeeper", ours))
    keeper.heart = Chore("the heartbeat", keeper.publish)
    keeper.told, keeper.last_beat = TOLD, 1000.0
    keeper.watch_board()
    keeper.heart.due = keeper.last_beat + HEARTBEAT
    yield keeper
    keeper.control.close()
    theirs.close()


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ({"status": "Stopping"}, 0.0),
        ({"workers": [2]}, 1000.0 + FRESH),
        ({"reincarnations": 1}, 1000.0 + FRESH),
    ],
)
def test_another_state_is_told_at_once_and_other_workers_soon(
    keeper: Housekeeper, change: dict[str, Any], due: float
) -> None:
    keeper.obey(Frame(Kind.VITALS, json.dumps(TOLD | change).encode()))
    assert keeper.heart.due == due


def test_that_there_is_something_to_do_is_told_at_once(keeper: Housekeeper) -> None:
    row = keeper.board.rows[0]
    row.belongs_to(1, 1)
    row[Cell.TURN] = pack_turn(1, State.RUNNING, 0)
    assert keeper.watch_board() == 1.0
    assert keeper.heart.due == 0.0
    assert keeper.signs is not None
    assert (keeper.signs["status"], keeper.signs["busy"]) == ("Working", 1)


def test_changed_figures_are_told_soon(keeper: Housekeeper) -> None:
    keeper.board[Word.LIMIT] = 7
    keeper.watch_board()
    assert keeper.heart.due == keeper.last_beat + FRESH


def test_what_has_not_changed_waits_for_the_next_heartbeat(keeper: Housekeeper) -> None:
    keeper.watch_board()
    assert keeper.heart.due == keeper.last_beat + HEARTBEAT


@pytest.fixture
def transactions(
    keeper: Housekeeper, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    """Those that were begun on the database of the housekeeper, which is no SQLite."""
    begun: list[str] = []

    @contextmanager
    def writing(alias: str) -> Iterator[None]:
        begun.append(alias)
        yield

    keeper.database = "results"
    known = {"results": SimpleNamespace(vendor="postgresql")}
    monkeypatch.setattr(housekeeper, "connections", known)
    monkeypatch.setattr(housekeeper, "writing", writing)
    yield begun
    monkeypatch.undo()


def looking(name: str, rest: float) -> Chore:
    return Chore(name, lambda: 1.0, lambda: rest)


def test_those_who_are_due_look_in_one_transaction(
    keeper: Housekeeper, transactions: list[str]
) -> None:
    idle, other, busy = looking("a", 5.0), looking("b", 5.0), looking("c", 0.0)
    keeper.look_at_once([idle, other, busy, Chore("d", lambda: 1.0)])
    assert transactions == ["results"]
    assert [each.is_due() for each in (idle, other, busy)] == [False, False, True]


def test_who_looks_takes_those_along_whose_time_is_soon(
    keeper: Housekeeper, transactions: list[str]
) -> None:
    now, soon, later = looking("a", 5.0), looking("b", 5.0), looking("c", 5.0)
    keeper.chores = [now, soon, later]
    soon.due, later.due = monotonic() + LOOK_TOGETHER / 2, monotonic() + 60
    keeper.turn()
    assert transactions == ["results"]
    assert min(now.due, soon.due) > monotonic() + 4
    assert later.due > monotonic() + 50


def test_nobody_looks_before_somebody_must(
    keeper: Housekeeper, transactions: list[str]
) -> None:
    looks = [looking("a", 5.0), looking("b", 5.0)]
    keeper.chores = [Chore("c", lambda: 1.0), *looks]
    for chore in looks:
        chore.due = monotonic() + LOOK_TOGETHER / 2
    keeper.turn()
    assert transactions == []


def test_who_looks_alone_needs_no_transaction_around_it(
    keeper: Housekeeper, transactions: list[str]
) -> None:
    alone = looking("a", 5.0)
    keeper.look_at_once([alone, Chore("b", lambda: 1.0)])
    assert transactions == []
    assert alone.is_due()


def test_look_that_fails_leaves_it_to_each(
    keeper: Housekeeper, transactions: list[str]
) -> None:
    def fail() -> float:
        raise OSError("not now")

    fine, bad = looking("a", 5.0), Chore("b", lambda: 1.0, fail)
    keeper.look_at_once([fine, bad])
    assert transactions == ["results"]
    assert fine.is_due()
    assert bad.is_due()
