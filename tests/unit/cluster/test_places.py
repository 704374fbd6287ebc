"""Places: what a worker with several of them says of itself on the board."""

from __future__ import annotations

import threading

import pytest

from django_q.cluster.board import Begun, Board, Cell, PlaceCell, State, Turn
from django_q.cluster.frames import Parcel
from django_q.cluster.places import Places
from tests.unit.cluster.making import CONTEXT, make_parcel

COUNT = 3
FUTURE = 100.0


@pytest.fixture
def board() -> Board:
    return Board(CONTEXT, rows=2, places=COUNT + 1)


@pytest.fixture
def places(board: Board) -> Places:
    return Places(board, board.rows[0], COUNT)


def parcel(number: int) -> Parcel:
    return make_parcel(number, key=number * 11)


def shown(board: Board) -> Turn:
    return board.rows[0].turn


def test_what_is_begun_stands_on_the_board(board: Board, places: Places) -> None:
    first = places.begin(parcel(5), FUTURE)
    places.show(first, State.RUNNING, FUTURE)
    places.begin(parcel(7), None)
    row = board.rows[0]
    assert sorted(row.begun()) == [Begun(5, 55, False), Begun(7, 77, True)]
    assert (row[Cell.NUMBER], row[Cell.BUSY], places.free) == (7, 2, COUNT - 2)
    assert board.rows[1].begun() == []


def test_what_has_ended_does_not(board: Board, places: Places) -> None:
    first, second = places.begin(parcel(5), None), places.begin(parcel(7), None)
    places.end(first)
    row = board.rows[0]
    assert row.begun() == [Begun(7, 77, True)]
    places.end(second)
    assert row.begun() == []
    assert (row[Cell.NUMBER], row[Cell.BUSY], places.free) == (7, 0, COUNT)
    assert shown(board) == (7, State.IDLE, 0)


def test_row_shows_what_is_due_first(board: Board, places: Places) -> None:
    late = places.begin(parcel(1), FUTURE)
    assert shown(board).number == 1
    soon = places.begin(parcel(2), FUTURE / 2)
    places.name(late, "shop.late")
    places.name(soon, "shop.soon")
    places.show(late, State.RUNNING, FUTURE)
    places.show(soon, State.RUNNING, FUTURE / 2)
    assert (shown(board).number, board.rows[0].task) == (2, "shop.soon")
    places.end(soon)
    assert (shown(board).number, board.rows[0].task) == (1, "shop.late")
    assert shown(board).deadline > board.now() + 90_000


def test_limit_that_begins_anew_counts_from_then(board: Board, places: Places) -> None:
    one, other = places.begin(parcel(1), 10), places.begin(parcel(2), 20)
    places.show(one, State.RUNNING, FUTURE)
    assert shown(board).number == 2
    places.show(other, State.RUNNING, None)
    assert shown(board).number == 1
    places.show(one, State.RUNNING, None)
    assert (shown(board).number, shown(board).deadline) == (1, 0)


def test_hook_has_a_place_of_its_own(board: Board, places: Places) -> None:
    tickets = [places.begin(parcel(n), None) for n in (4, 5, 6)]
    assert places.free == 0
    hook = places.begin_hook(3, 5.0)
    assert shown(board)[:2] == (3, State.FINISHING)
    assert len(board.rows[0].begun()) == COUNT
    places.end(hook)
    assert (places.free, shown(board).number) == (0, 4)
    for ticket in tickets:
        places.end(ticket)
    assert places.free == COUNT


def test_limits_of_what_has_ended_are_forgotten(board: Board, places: Places) -> None:
    lasting = places.begin(parcel(1), 3600)
    for n in range(2, 1000):
        places.end(places.begin(parcel(n), 60))
    assert len(places._due) < 200  # noqa: SLF001
    assert shown(board).number == 1
    places.end(lasting)


def test_row_is_cleared_with_its_places(board: Board, places: Places) -> None:
    places.begin(parcel(5), None)
    board.rows[1].place(0)[PlaceCell.TURN] = 7
    board.rows[0].clear()
    assert board.rows[0].begun() == []
    assert board.rows[1].place(0)[PlaceCell.TURN] == 7


def test_threads_may_write_at_once(board: Board, places: Places) -> None:
    def work(number: int) -> None:
        for _ in range(200):
            ticket = places.begin(parcel(number), FUTURE)
            places.show(ticket, State.RUNNING, FUTURE)
            places.end(ticket)

    workers = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (places.free, board.rows[0].begun()) == (COUNT, [])
    assert shown(board).state is State.IDLE
