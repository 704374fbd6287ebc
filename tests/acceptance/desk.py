"""Desk: a worker and a monitor at work in one process, each when it is told to."""

from __future__ import annotations

import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Self
from unittest import mock

from django_q.brokers.base import Delivery
from django_q.cluster import monitoring, working
from django_q.cluster.board import Cell, Word, number_of
from django_q.cluster.frames import encode_parcels
from django_q.cluster.lines import Line
from django_q.cluster.monitoring import Monitor
from django_q.cluster.working import Worker
from django_q.options import Options
from tests.unit.cluster.making import Clock, make_board, make_launch, make_parcel

ROOM = 1024 * 1024


class Desk:
    """The two, with all their lines, at a clock that stands still: so the worker looks
    at its lines once for each batch, and what they do depends on the tasks alone.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.board = make_board()
        self.board[Word.LEASE_UNTIL] = 2**62
        self.given = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for module in (working, monitoring):
                stack.enter_context(mock.patch.object(module, "monotonic", Clock()))
            # A worker's time limit takes the alarm of its process.
            former = signal.getsignal(signal.SIGALRM)
            stack.callback(signal.signal, signal.SIGALRM, former)
            self.lines: list[Line] = []
            stack.callback(self._hang_up)
            self.worker = Worker(self._launch("worker"))
            # As one whose tasks are short: they are in no title, and in no line of the log.
            self.worker.row[Cell.PACE] = 1
            self.monitor = Monitor(self._launch("monitor"))
            self.lines += self.worker.control, self.monitor.control
            self._introduce()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self.worker.runner.close()
        self._stack.close()

    def _launch(self, kind: str) -> Any:
        ours, sentinels = Line.pair()
        self.lines.append(Line(sentinels))
        facts = {"generation": 1, "options": self.options, "board": self.board}
        return make_launch(kind, ours, **facts)

    def _introduce(self) -> None:
        pairs = [tuple(map(Line, Line.pair())) for _ in range(3)]
        (self.to_worker, workers), (self.to_monitor, monitors), (one, other) = pairs
        self.lines += self.to_worker, workers, self.to_monitor, monitors, one, other
        # Nobody reads while a batch runs.
        one.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        self.worker.meet("pusher", 1, 0, workers)
        self.worker.meet("monitor", 1, 0, one)
        self.monitor.meet("pusher", 1, 0, monitors)
        self.monitor.meet("worker", 1, 0, other)

    def _hang_up(self) -> None:
        for line in self.lines:
            line.close()

    def claim(self, count: int) -> list[Delivery]:
        """As a pusher fetches it, in the name of the same cluster."""
        return self.monitor.broker.dequeue(count=count) or []

    def give(self, packages: Sequence[Delivery]) -> None:
        """As a pusher hands them to the worker; it has heard what was said to it."""
        for line in (self.to_worker, self.to_monitor):
            line.receive()
        parcels = []
        for receipt, package in packages:
            self.given += 1
            number = number_of(1, self.given)
            parcels.append(make_parcel(number, receipt=str(receipt), package=package))
        self.to_worker.send(encode_parcels(parcels))

    def run(self, tasks: int) -> None:
        """So many of them, until their ends are on the way to the monitor."""
        for _ in range(tasks):
            self.worker.turn()

    def save(self) -> None:
        """All that has ended: one batch."""
        self.monitor.collect(0.0)
        self.monitor.settle(list(self.monitor.unsaved.values()))

    def say_saved(self) -> None:
        """All that has ended, although nobody has saved it."""
        self.monitor.collect(0.0)
        ended = list(self.monitor.unsaved.values())
        self.monitor.unsaved.clear()
        self.monitor.tell_saved(ended, set())
