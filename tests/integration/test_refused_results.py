"""Ended runs that broker or database refuse while they take others."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from django_q.brokers import Consignment
from django_q.brokers.memory import Memory
from django_q.cluster import monitoring
from django_q.cluster.board import Word
from django_q.cluster.frames import Frame, Kind, Report, control, encode_report
from django_q.cluster.lines import Line
from django_q.cluster.monitoring import Monitor
from django_q.cluster.trouble import Trouble
from django_q.cluster.working import Worker
from django_q.exceptions import BrokerUnavailable
from django_q.models import Task
from django_q.results import Record
from tests.unit.cluster.making import make_launch, make_parcel, make_record

pytestmark = pytest.mark.django_db

TOO_LARGE = "a link that is too large"
LONG = 1000.0
WORKER = 7


class Narrow(Memory):
    """Refuses what is too large; counts how often it did."""

    refusals = 0
    takes_all = False
    is_unheard = False
    """Its next answer to an acknowledgement is lost."""

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        ours = super().acknowledge_many(receipts)
        if self.is_unheard:
            self.is_unheard = False
            raise BrokerUnavailable("It hung up.")
        return ours

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        too_large = TOO_LARGE in [package for package, *_ in consignments]
        if too_large and not Narrow.takes_all:
            Narrow.refusals += 1
            raise ValueError("too large")
        super().enqueue_many(consignments)


class Bench:
    """A monitor in this process, with the other ends of its lines."""

    def __init__(self) -> None:
        (ours, sentinel), (to_worker, worker), (to_pusher, pusher) = (
            Line.pair() for _ in range(3)
        )
        self.monitor = Monitor(make_launch("monitor", ours, broker=Narrow("narrow")))
        self.monitor.setup()
        self.sentinel, self.worker, self.pusher = map(Line, (sentinel, worker, pusher))
        self.monitor.meet("worker", WORKER, 0, Line(to_worker))
        self.monitor.meet("pusher", 1, 0, Line(to_pusher))
        self.number = 0

    @property
    def broker(self) -> Narrow:
        assert isinstance(self.monitor.broker, Narrow)
        return self.monitor.broker

    def ends(self, link: str | None = None) -> str:
        """A run ends: its delivery was held by this cluster. Gives the task's id."""
        broker, task_id = self.broker, uuid.uuid4().hex
        broker.enqueue("a:package", task_id=task_id)
        (delivery,) = broker.dequeue(count=1) or []
        self.number += 1
        record: Record = make_record(id=task_id)
        record = record._replace(link=link, link_id=uuid.uuid4().hex if link else None)
        facts = self.number, str(delivery.receipt), False, record.to_bytes()
        self.worker.send(encode_report(Report(*facts)))
        return task_id

    def turn_until(self, is_so: Callable[[], object]) -> None:
        for _ in range(60):
            if is_so():
                return
            self.monitor.turn()
        raise AssertionError("that never came")

    def heard(self, line: Line, kind: Kind) -> list[Frame]:
        return [frame for frame in line.receive() if frame.kind is kind]

    def close(self) -> None:
        self.monitor.teardown()
        for line in (*self.monitor.workers.values(), self.monitor.pusher):
            if line is not None:
                line.close()
        for line in (self.monitor.control, self.sentinel, self.worker, self.pusher):
            line.close()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(Narrow, "refusals", 0)
    monkeypatch.setattr(Narrow, "takes_all", False)
    # Whoever has to wait for anything here waits in vain.
    monkeypatch.setattr(monitoring, "Trouble", lambda: Trouble(LONG, LONG))
    monkeypatch.setattr(monitoring, "FIRST_REST", LONG)
    monkeypatch.setattr(monitoring, "LONGEST_REST", LONG)
    bench = Bench()
    yield bench
    bench.close()
    bench.broker.purge_queue()


def are_saved(ids: Sequence[str]) -> Callable[[], bool]:
    return lambda: Task.objects.filter(id__in=ids).count() == len(ids)


def test_refused_end_holds_up_no_other(bench: Bench) -> None:
    bench.ends(TOO_LARGE)
    bench.turn_until(lambda: Narrow.refusals)
    for _batch in range(3):
        others = [bench.ends(), bench.ends("a small link")]
        bench.turn_until(are_saved(others))
    assert Narrow.refusals == 1


@pytest.mark.parametrize("is_soon", [True, False])
def test_what_was_acknowledged_and_nobody_heard_is_ours_while_nobody_could_rescue_it(
    bench: Bench, caplog: pytest.LogCaptureFixture, is_soon: bool
) -> None:
    bench.monitor.trouble = Trouble(0.0, 0.0)
    board = bench.monitor.board
    board[Word.LEASE_UNTIL] = board.now() + 60_000
    bench.broker.is_unheard = True
    task_id = bench.ends()
    bench.turn_until(lambda: bench.monitor.unheard)
    if not is_soon:
        board[Word.BIRTH] -= 60_000
        # What is still here is renewed, as at the end of a pause.
        board[Word.LEASE_UNTIL] = board.now() + 60_000
    bench.turn_until(lambda: not bench.monitor.unsaved)
    (told,) = bench.heard(bench.worker, Kind.SAVED)
    assert told.facts == {"numbers": [1], "discarded": [] if is_soon else [1]}
    assert ("came late" in caplog.text) is not is_soon
    assert Task.objects.filter(id=task_id).exists()
    assert not bench.monitor.unheard


def test_one_transaction_takes_no_more_than_its_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "LARGEST_BATCH", 3)
    ids = [bench.ends() for _ in range(7)]
    bench.turn_until(are_saved(ids))
    told = [frame.facts["numbers"] for frame in bench.heard(bench.worker, Kind.SAVED)]
    assert [number for numbers in told for number in numbers] == list(range(1, 8))
    assert max(map(len, told)) == 3


def test_it_is_tried_until_it_is_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(monitoring, "FIRST_REST", 0.0)
    bench.ends(TOO_LARGE)
    bench.turn_until(lambda: Narrow.refusals > 20)
    assert bench.broker.count_held() == 1
    Narrow.takes_all = True
    bench.turn_until(lambda: not bench.monitor.refused)
    assert bench.broker.count_held() == 0
    (saved,) = bench.heard(bench.worker, Kind.SAVED)
    assert saved.facts["numbers"] == [1]
    told = [line for line in caplog.messages if "is refused (too large)" in line]
    assert len(told) == 1


def test_rests_of_one_record_grow(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "FIRST_REST", LONG / 3)
    bench.ends(TOO_LARGE)
    bench.turn_until(lambda: Narrow.refusals)
    refused, rests = bench.monitor.refused, []
    for _try in range(4):
        rests.append(refused[1].rest)
        refused[1] = refused[1]._replace(due=0.0)
        bench.monitor.turn()
    assert rests == [LONG / 3, 2 * LONG / 3, LONG, LONG]


def test_monitor_goes_on_to_say_that_it_has_it(bench: Bench) -> None:
    bench.ends(TOO_LARGE)
    bench.turn_until(lambda: Narrow.refusals)
    assert bench.monitor.board[Word.UNSAVED] == 1
    bench.pusher.send(control(Kind.LIST))
    bench.pusher.send(control(Kind.FINISH, generation=WORKER))
    bench.monitor.turn()
    listed, arrived = bench.pusher.receive()
    assert len(listed.facts["keys"]) == 1
    assert arrived.facts == {"generation": WORKER, "numbers": [1]}


def test_stop_tries_it_once_more_and_leaves_it_to_its_lease(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.ends(TOO_LARGE)
    bench.turn_until(lambda: Narrow.refusals)
    bench.sentinel.send(control(Kind.STOP))
    bench.turn_until(lambda: bench.monitor.has_left)
    assert Narrow.refusals == 2
    assert bench.broker.count_held() == 1
    bench.monitor.teardown()
    assert "1 results were refused to the end; their tasks run again" in caplog.text


@pytest.mark.parametrize("is_stop", [True, False])
def test_worker_waits_for_it_when_it_retires_and_not_at_a_stop(
    bench: Bench, *, is_stop: bool
) -> None:
    bench.ends(TOO_LARGE)
    bench.turn_until(lambda: Narrow.refusals)
    (refused,) = bench.heard(bench.worker, Kind.REFUSED)
    (ours, sentinel), (to_monitor, monitor) = Line.pair(), Line.pair()
    worker = Worker(make_launch("worker", ours, broker=Narrow("narrow")))
    lines: list[Any] = [worker.control, *map(Line, (sentinel, to_monitor, monitor))]
    worker.meet("monitor", 1, 0, lines[2])
    worker.report(make_parcel(1), make_record())
    worker.is_retiring = True
    lines[3].send(refused.encode())
    worker.turn()
    assert not worker.has_left
    lines[1].send(control(Kind.STOP) if is_stop else control(Kind.READY))
    worker.turn()
    assert worker.has_left is is_stop
    for line in lines:
        line.close()
