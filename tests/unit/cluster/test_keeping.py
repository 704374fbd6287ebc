"""A worker keeps each end until it is saved, whoever saves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_q.cluster.board import Cell
from django_q.cluster.frames import Kind, control, decode_report
from django_q.cluster.lines import Line
from django_q.cluster.working import Worker
from tests.unit.cluster.making import make_launch, make_parcel, make_record


class Desk:
    """A worker in this process, with the other ends of its lines."""

    def __init__(self) -> None:
        ours, sentinel = Line.pair()
        self.worker = Worker(make_launch("worker", ours, generation=7))
        self.lines = [self.worker.control, Line(sentinel)]

    def meet_monitor(self) -> Line:
        near, far = map(Line, Line.pair())
        self.lines += near, far
        self.worker.meet("monitor", 1, 0, near)
        return far

    def close(self) -> None:
        for line in self.lines:
            line.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


def heard(line: Line) -> list[Any]:
    """Numbers of reports, negative if they are sent again; "hello" ends the greeting."""
    said: list[Any] = []
    for frame in line.receive():
        if frame.kind is Kind.RECORD:
            report = decode_report(frame.body)
            said.append(-report.number if report.again else report.number)
        elif frame.kind is Kind.HELLO:
            said.append("hello")
    return said


def test_next_monitor_gets_what_the_former_has_not_saved(desk: Desk) -> None:
    first = desk.meet_monitor()
    for number in (1, 2):
        desk.worker.report(make_parcel(number), make_record())
    assert heard(first) == ["hello", 1, 2]
    first.send(control(Kind.SAVED, numbers=[1], discarded=[]))
    desk.worker.collect(1.0)
    assert desk.worker.row[Cell.KEPT] == 1
    first.close()
    assert heard(desk.meet_monitor()) == [-2, "hello"]


def test_what_is_saved_is_sent_to_nobody_any_more(desk: Desk) -> None:
    first = desk.meet_monitor()
    desk.worker.report(make_parcel(1), make_record())
    first.send(control(Kind.SAVED, numbers=[1], discarded=[]))
    desk.worker.collect(1.0)
    first.close()
    assert heard(desk.meet_monitor()) == ["hello"]
    assert desk.worker.row[Cell.KEPT] == 0
