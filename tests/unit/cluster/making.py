"""Boards, launches, parcels, records, children for the tests of this folder."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_q.clock import now
from django_q.cluster.board import Board, mark_of
from django_q.cluster.children import Child
from django_q.cluster.frames import Errand, Frame, Parcel
from django_q.cluster.lines import Line
from django_q.cluster.roles import Identity, Launch
from django_q.options import Options
from django_q.results import Record
from tests.unit.cluster.scribes import sleep_for_ever

CONTEXT = multiprocessing.get_context("spawn")


class Clock:
    """Goes when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_board(rows: int = 4, places: int = 0) -> Board:
    return Board(CONTEXT, rows, places)


def make_launch(kind: str, control: Any, **changes: Any) -> Launch:
    """What a role is started with; `control` is its end of the sentinel's line."""
    facts: dict[str, Any] = {
        "generation": 1,
        "title": "Process-1:1",
        "identity": Identity("c" * 32, "tests-host-1", "host", 1, now().isoformat()),
        "options": Options(),
        "board": make_board(),
        "row": 0,
    }
    return Launch(kind=kind, control=control, **(facts | changes))


def make_parcel(number: int = 1, **changes: Any) -> Parcel:
    parcel = Parcel(
        number=number,
        key=mark_of("7:1"),
        starts=0,
        attempts=0,
        errand=Errand.EXECUTE,
        cause="",
        text="",
        receipt="7:1",
        package="a:package",
    )
    return parcel._replace(**changes)


def make_record(**changes: Any) -> Record:
    facts: dict[str, Any] = {
        "id": "0" * 32,
        "name": "sodium-magnesium",
        "func": "shop.tasks.send",
        "hook": None,
        "args": "",
        "kwargs": "",
        "result": "",
        "group": None,
        "cluster": None,
        "started": "2026-01-01T00:00:00+00:00",
        "stopped": "2026-01-01T00:00:01+00:00",
        "success": True,
        "attempt": 1,
        "ran": 0.42,
        "waited": 0.1,
    }
    return Record(**(facts | changes))


@contextmanager
def two_lines() -> Iterator[tuple[Line, Line]]:
    """Both sides of a connection."""
    ours, theirs = map(Line, Line.pair())
    try:
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


class Nursery:
    """Makes children, of flesh and blood or only of paper, and clears up after them."""

    def __init__(self) -> None:
        self._generation = 0
        self._lines: list[Line] = []
        self._children: list[Child] = []
        self.far_end: dict[int, Line] = {}
        """Generation -> the child's own end of its line."""

    def make(
        self, kind: str = "worker", row: int = -1, *, alive: bool = False
    ) -> Child:
        """A child; without `alive` its process was never started, thus is dead."""
        self._generation += 1
        ours, theirs = map(Line, Line.pair())
        process = CONTEXT.Process(target=sleep_for_ever, daemon=True)
        if alive:
            process.start()
        title = f"Process-1:{self._generation}"
        child = Child(kind, self._generation, title, process, ours, row)
        self._lines += [ours, theirs]
        self._children.append(child)
        self.far_end[child.generation] = theirs
        return child

    def heard(self, child: Child) -> list[Frame]:
        """What was sent to a child."""
        return self.far_end[child.generation].receive()

    def close(self) -> None:
        for line in self._lines:
            line.close()
        for child in self._children:
            if child.process.pid is not None:
                child.process.kill()
                child.process.join()
            child.process.close()
