"""Places: what a worker with several of them writes on the board."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import OrderedDict
from dataclasses import dataclass

from django_q.cluster.board import Board, Cell, Place, PlaceCell, Row, State, Turn
from django_q.cluster.frames import Parcel


@dataclass(slots=True, eq=False)
class Ticket:
    """What somebody does in one place."""

    index: int
    place: Place
    number: int
    began: int
    turn: Turn
    text: str = ""
    is_hook: bool = False


class Places:
    """Each parcel that is begun gets a place, and keeps it until its end is on its way.

    The row shows that which is due first: it is the one for which the sentinel would kill
    the worker. Any thread may write here.
    """

    def __init__(self, board: Board, row: Row, count: int) -> None:
        self._board = board
        self._row = row
        self._free = list(range(count))[::-1]
        self._hook = count
        """The place of hooks: they need not wait until a task has ended."""
        self._held: OrderedDict[Ticket, None] = OrderedDict()
        self._due: list[tuple[int, int, Ticket]] = []
        self._order = itertools.count()
        self._shown: Ticket | None = None
        self._lock = threading.Lock()

    @property
    def free(self) -> int:
        return len(self._free)

    def begin(self, parcel: Parcel, limit: float | None) -> Ticket:
        """Say that this parcel is begun, and is being opened. Whoever begins one looks
        afterwards whether that was still allowed.
        """
        with self._lock:
            ticket = self._ticket(self._free.pop(), parcel.number)
            ticket.place[PlaceCell.NUMBER] = parcel.number
            ticket.place[PlaceCell.KEY] = parcel.key
            self._row[Cell.NUMBER] = parcel.number
            self._row[Cell.BUSY] += 1
            self._write(ticket, State.OPENING, limit)
        return ticket

    def begin_hook(self, number: int, limit: float | None) -> Ticket:
        """Say that the hook of a task runs; one at a time."""
        with self._lock:
            ticket = self._ticket(self._hook, number)
            ticket.is_hook = True
            ticket.place[PlaceCell.NUMBER] = number
            self._write(ticket, State.FINISHING, limit)
        return ticket

    def show(self, ticket: Ticket, state: State, limit: float | None) -> None:
        """Say what is done there now, and until when it may take."""
        with self._lock:
            self._write(ticket, state, limit)

    def name(self, ticket: Ticket, text: str) -> None:
        """What runs there, for the eyes of people."""
        with self._lock:
            ticket.text = text
            if ticket is self._shown:
                self._row.task = text

    def end(self, ticket: Ticket) -> None:
        """Nothing is done there any more."""
        with self._lock:
            del self._held[ticket]
            ticket.turn = Turn(ticket.number, State.IDLE, 0)
            ticket.place[PlaceCell.TURN] = ticket.turn.pack()
            if not ticket.is_hook:
                self._free.append(ticket.index)
                self._row[Cell.BUSY] -= 1
            self._show_first()

    def _ticket(self, index: int, number: int) -> Ticket:
        began, turn = self._board.now(), Turn(number, State.IDLE, 0)
        ticket = Ticket(index, self._row.place(index), number, began, turn)
        self._held[ticket] = None
        return ticket

    def _write(self, ticket: Ticket, state: State, limit: float | None) -> None:
        deadline = self._board.deadline(limit)
        ticket.turn = Turn(ticket.number, state, deadline)
        ticket.place[PlaceCell.TURN] = ticket.turn.pack()
        if deadline:
            heapq.heappush(self._due, (deadline, next(self._order), ticket))
        self._show_first()

    def _show_first(self) -> None:
        """Let the row show what is due first, or else what began first."""
        first = self._first()
        turn = first.turn if first else Turn(self._row[Cell.NUMBER], State.IDLE, 0)
        if first is not self._shown:
            self._shown = first
            self._row[Cell.STARTED] = first.began if first else 0
            self._row.task = first.text if first else ""
        self._row[Cell.TURN] = turn.pack()

    def _first(self) -> Ticket | None:
        due = self._due
        while due and not self._is_true(*due[0]):
            heapq.heappop(due)
        if len(due) > 2 * len(self._held) + 100:
            due[:] = [entry for entry in due if self._is_true(*entry)]
            heapq.heapify(due)
        return due[0][2] if due else next(iter(self._held), None)

    def _is_true(self, deadline: int, _order: int, ticket: Ticket) -> bool:
        return ticket.turn.deadline == deadline and ticket in self._held
