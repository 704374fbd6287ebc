"""A worker with many tasks at once, in this process, with the other ends of its lines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_q.cluster.board import Cell, Word, number_of
from django_q.cluster.concurrent_working import ConcurrentWorker
from django_q.cluster.frames import Frame, Kind, control, decode_report, encode_parcels
from django_q.cluster.lines import Line
from django_q.envelope import Envelope
from django_q.options import Options
from django_q.results import Record
from tests import functions
from tests.unit.cluster.making import make_board, make_launch, make_parcel

PLACES = 3
OPTIONS = Options(workers=1, concurrency=PLACES, recycle=0, timeout=60)
TOO_LONG = 30.0

gate = threading.Event()
"""What tasks here wait for."""


def pass_gate() -> str:
    gate.wait(TOO_LONG)
    return "passed"


async def pass_gate_later() -> str:
    while not gate.is_set():
        await asyncio.sleep(0.005)
    return "passed"


class Desk:
    """A worker, and those whom it speaks to."""

    def __init__(self, options: Options = OPTIONS) -> None:
        board = make_board(4, PLACES + 1)
        board[Word.LEASE_UNTIL] = 2**62
        control_end, self.sentinel = map_line()
        launch = make_launch("worker", control_end, options=options, board=board)
        self.worker = ConcurrentWorker(launch)
        self.row = self.worker.row
        (pusher, self.pusher), (monitor, self.monitor) = map_lines(), map_lines()
        self.worker.meet("pusher", 1, 0, pusher)
        self.worker.meet("monitor", 1, 0, monitor)
        self.lines = [self.worker.control, self.sentinel]
        self.lines += [pusher, monitor, self.pusher, self.monitor]
        self.given = 0
        self.ends: dict[int, Record] = {}
        self.said: list[Frame] = []

    def give(self, *tasks: Any, **options: Any) -> None:
        parcels = []
        for task in tasks:
            self.given += 1
            package = Envelope.from_call(task, (), {}, options).seal()
            number, key = number_of(1, self.given), self.given
            receipt = f"{self.given}:1"
            parcel = make_parcel(number, key=key, receipt=receipt, package=package)
            parcels.append(parcel)
        self.pusher.send(encode_parcels(parcels))

    def turn_until(self, fact: Callable[[], Any]) -> Any:
        until = time.monotonic() + TOO_LONG
        while not (seen := fact()):
            assert time.monotonic() < until, "never"
            self.wake()
            self.worker.turn()
            self.hear()
        return seen

    def wake(self) -> None:
        """No turn of these tests waits for news that nobody has."""
        time.sleep(0.001)
        self.worker.bell.ring()

    def hear(self) -> None:
        for frame in self.monitor.receive():
            if frame.kind is Kind.RECORD:
                report = decode_report(frame.body)
                self.ends[report.number & 0xFFFF] = Record.from_bytes(report.record)
        self.said += self.pusher.receive()

    def save(self, *numbers: int) -> None:
        saved = [number_of(1, number) for number in numbers]
        self.monitor.send(control(Kind.SAVED, numbers=saved, discarded=[]))

    def dropped(self) -> list[int]:
        frames = [frame for frame in self.said if frame.kind is Kind.DROPPED]
        return [frame.facts["number"] & 0xFFFF for frame in frames]

    def begun(self) -> list[int]:
        return sorted(begun.number & 0xFFFF for begun in self.row.begun())

    def close(self) -> None:
        gate.set()
        self.worker.teardown()
        for line in self.lines:
            line.close()


def map_line() -> tuple[Any, Line]:
    ours, theirs = Line.pair()
    return ours, Line(theirs)


def map_lines() -> tuple[Line, Line]:
    ours, theirs = Line.pair()
    return Line(ours), Line(theirs)


@pytest.fixture
def make() -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(**options: Any) -> Desk:
        made.append(Desk(replace(OPTIONS, **options)))
        return made[-1]

    gate.clear()
    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    return make()


def test_tasks_of_both_kinds_run_side_by_side(desk: Desk) -> None:
    desk.give(pass_gate, pass_gate_later, pass_gate, pass_gate_later)
    desk.turn_until(lambda: len(desk.worker.begun) == PLACES)
    assert desk.begun() == [1, 2, 3]
    assert (desk.row[Cell.BUSY], desk.row[Cell.ROOM]) == (3, 0)
    assert len(desk.worker.inbox) == 1
    gate.set()
    desk.turn_until(lambda: len(desk.ends) == 4 and not desk.worker.begun)
    assert all(record.success for record in desk.ends.values())
    assert (desk.begun(), desk.row[Cell.BUSY], desk.row[Cell.ROOM]) == ([], 0, 3)
    assert desk.row[Cell.KEPT] == 4
    desk.save(1, 2, 3, 4)
    desk.turn_until(lambda: not desk.row[Cell.KEPT])


def test_pusher_is_called_when_there_is_room(desk: Desk) -> None:
    desk.turn_until(lambda: desk.row[Cell.ROOM])
    desk.said.clear()
    gate.set()
    desk.give(pass_gate)
    desk.turn_until(lambda: desk.ends)
    assert Kind.WANT in {frame.kind for frame in desk.said}


def test_what_was_taken_back_is_not_begun(desk: Desk) -> None:
    desk.row[Cell.VOID] = number_of(1, 2)
    desk.give(functions.add, functions.add, functions.add)
    desk.turn_until(lambda: desk.ends)
    assert list(desk.ends) == [3]
    assert desk.dropped() == []


def test_nothing_begins_without_a_lease(desk: Desk) -> None:
    desk.worker.board[Word.LEASE_UNTIL] = 0
    desk.give(functions.add)
    desk.turn_until(desk.dropped)
    assert (desk.dropped(), desk.begun(), desk.ends) == ([1], [], {})


def test_nothing_begins_while_too_much_is_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_q.cluster.working.MOST_KEPT", 2)
    desk.give(functions.add, functions.add)
    desk.turn_until(lambda: len(desk.ends) == 2)
    desk.give(functions.add)
    for _ in range(3):
        desk.wake()
        desk.worker.turn()
    assert len(desk.worker.inbox) == 1
    desk.save(1)
    desk.turn_until(lambda: len(desk.ends) == 3)


def test_what_needs_a_thread_waits_for_one_and_is_nobody_s_blame(
    make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_q.options.MOST_THREADS", 1)
    desk = make()
    desk.give(pass_gate, functions.add, functions.add_later)
    desk.turn_until(lambda: desk.worker.waiting)
    desk.turn_until(lambda: desk.row.turn.deadline)
    assert desk.row.turn.number == 1, "what waits has no limit"
    assert (desk.begun(), desk.row[Cell.ROOM]) == ([1, 2], 0)
    assert len(desk.worker.inbox) == 1, "may still be taken back"
    gate.set()
    desk.turn_until(lambda: len(desk.ends) == 3)


def test_stop_gives_back_what_has_not_begun_and_waits_for_the_rest(
    make: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_q.options.MOST_THREADS", 1)
    desk = make()
    desk.give(pass_gate, pass_gate, functions.add_later)
    desk.turn_until(lambda: desk.worker.waiting)
    desk.sentinel.send(control(Kind.STOP))
    desk.turn_until(desk.dropped)
    assert desk.dropped() == [2]
    assert (desk.begun(), desk.worker.has_left) == ([1], False)
    gate.set()
    desk.turn_until(lambda: desk.ends)
    assert not desk.worker.has_left
    desk.save(1)
    desk.turn_until(lambda: desk.worker.has_left)
    assert list(desk.ends) == [1]


def test_end_keeps_its_place_until_a_monitor_has_it(desk: Desk) -> None:
    """Between worker and monitor it would be nowhere, for whoever asks both."""
    desk.give(pass_gate_later)
    desk.turn_until(lambda: desk.begun() == [1])
    desk.monitor.close()
    gate.set()
    desk.turn_until(lambda: desk.row[Cell.KEPT])
    desk.wake()
    desk.worker.turn()
    assert desk.begun() == [1]
    near, desk.monitor = map_lines()
    desk.lines += near, desk.monitor
    desk.worker.meet("monitor", 2, 0, near)
    desk.turn_until(lambda: desk.ends)
    desk.turn_until(lambda: desk.begun() == [])


def test_hooks_wait_for_no_task(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    finished: list[Any] = []

    def finish(outcome: Any, *_: Any, **__: Any) -> None:
        finished.append((outcome.result, threading.current_thread().name))

    monkeypatch.setattr("django_q.results.finish", finish)
    monkeypatch.setattr("django_q.results.needs_finish", lambda *_, **__: True)
    desk.give(functions.add, pass_gate, pass_gate, pass_gate_later)
    desk.turn_until(lambda: desk.ends and len(desk.worker.begun) == PLACES)
    desk.save(1)
    desk.turn_until(lambda: finished)
    assert finished == [(0, "django-q hooks")]
    assert desk.begun() == [2, 3, 4]


def test_worn_worker_begins_no_more_and_ends_what_runs(
    make: Callable[..., Desk],
) -> None:
    desk = make(recycle=1)
    desk.give(pass_gate_later, functions.add)
    desk.turn_until(lambda: desk.worker.is_retiring)
    desk.give(functions.add)
    for _ in range(3):
        desk.wake()
        desk.worker.turn()
    desk.hear()
    assert [f.facts for f in desk.said if f.kind is Kind.RETIRE] == [
        {"last": number_of(1, 2)}
    ]
    assert (desk.begun(), list(desk.ends), desk.worker.has_left) == ([1], [2], False)
    gate.set()
    desk.save(2)
    desk.turn_until(lambda: len(desk.ends) == 2)
    desk.save(1)
    desk.turn_until(lambda: desk.worker.has_left)


def test_worn_worker_stays_while_enough_others_retire(
    make: Callable[..., Desk],
) -> None:
    desk = make(recycle=1)
    other = desk.worker.board.rows[1]
    other[Cell.RETIRING] = 1
    desk.give(functions.add)
    desk.turn_until(lambda: desk.ends and not desk.begun())
    assert not desk.worker.is_retiring
    other.clear()
    desk.give(functions.add)
    desk.turn_until(lambda: desk.worker.is_retiring)
    assert desk.row[Cell.RETIRING] == 1


def test_keys_that_are_changed_open_what_comes_then(desk: Desk, settings: Any) -> None:
    desk.give(functions.add)
    desk.turn_until(lambda: len(desk.ends) == 1)
    settings.SECRET_KEY = "fresh"
    desk.give(functions.add)
    desk.turn_until(lambda: len(desk.ends) == 2)
    assert "rejected" not in [record.cause for record in desk.ends.values()]


def test_package_that_is_not_ours_is_rejected_beside_others(desk: Desk) -> None:
    desk.give(pass_gate_later)
    parcel = make_parcel(number_of(1, 9), key=9, receipt="9:1", package="no package")
    desk.pusher.send(encode_parcels([parcel]))
    desk.turn_until(lambda: 9 in desk.ends)
    assert desk.ends[9].cause == "rejected"
    assert desk.begun() == [1]
