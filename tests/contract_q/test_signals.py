"""post_execute: for every run of a task, once its end is safe; whoever raises is alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_q.brokers import Delivery
from django_q.brokers.front import name_of
from django_q.cluster.frames import Kind, control
from django_q.cluster.ledger import Ledger
from django_q.cluster.lines import Line
from django_q.cluster.verdicts import open_parcel
from django_q.cluster.working import Worker
from django_q.options import Options
from django_q.outcome import Outcome
from django_q.results import Record
from django_q.signals import post_execute, pre_execute
from tests.unit.cluster.making import make_launch, make_parcel
from tests.unit.results.making import ended

pytestmark = pytest.mark.django_db

HOOK = f"{__name__}.remember"
HOOKED: list[str] = []


def remember(task: Any) -> None:
    HOOKED.append(task.id)


class Bench:
    """A worker in this process, and the monitor's end of its line."""

    def __init__(self, options: Options) -> None:
        control_ends, monitor_ends = Line.pair(), Line.pair()
        self.worker = Worker(make_launch("worker", control_ends[0], options=options))
        self.monitor = Line(monitor_ends[1])
        self.lines = [self.worker.control, Line(control_ends[1]), self.monitor]
        self.worker.meet("monitor", 1, 0, Line(monitor_ends[0]))

    def end(self, outcome: Outcome, number: int = 1) -> Record:
        """The worker ends a run; what the monitor gets."""
        parcel = make_parcel(number)
        self.worker.conclude(parcel, outcome)
        frames = [f for f in self.monitor.receive() if f.kind is Kind.RECORD]
        assert len(frames) == 1
        return Record.from_bytes(self.worker.kept[number].record)

    def save(self, number: int = 1, *, discarded: bool = False) -> None:
        """The monitor says that it has saved it, or that others had."""
        lost = [number] if discarded else []
        self.monitor.send(control(Kind.SAVED, numbers=[number], discarded=lost))
        self.worker.collect(5)

    def close(self) -> None:
        if self.worker.monitor is not None:
            self.worker.monitor.close()
        for line in self.lines:
            line.close()


@pytest.fixture
def open_bench() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def open_one(**changes: Any) -> Bench:
        benches.append(Bench(Options(**({"name": "tests"} | changes))))
        return benches[-1]

    HOOKED.clear()
    yield open_one
    for bench in benches:
        bench.close()


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []

    def receiver(sender: str, task: dict[str, Any], **_: Any) -> None:
        assert sender == "django_q"
        said.append(task)

    post_execute.connect(receiver)
    yield said
    post_execute.disconnect(receiver)


def test_run_that_is_tried_again_is_announced_when_it_was_put_back(
    open_bench: Callable[..., Bench], heard: list[dict[str, Any]]
) -> None:
    bench = open_bench(max_attempts=2)
    record = bench.end(ended("no", success=False, hook=HOOK))
    assert record.pause is not None
    assert heard == []

    bench.save()

    assert [(task["result"], task["success"]) for task in heard] == [("no", False)]
    assert HOOKED == []


def test_each_run_of_a_task_that_repeats_for_ever_is_announced(
    open_bench: Callable[..., Bench], heard: list[dict[str, Any]]
) -> None:
    bench = open_bench(ack_failures=False)
    for number in (1, 2, 3):
        bench.end(ended(f"no {number}", success=False, hook=HOOK), number)
        bench.save(number)

    assert [task["result"] for task in heard] == ["no 1", "no 2", "no 3"]
    assert HOOKED == []


def test_last_run_is_announced_after_its_hook(
    open_bench: Callable[..., Bench], heard: list[dict[str, Any]]
) -> None:
    bench = open_bench()
    outcome = ended(5, hook=HOOK)
    bench.end(outcome)
    bench.save()

    assert [outcome.envelope.id] == HOOKED
    (task,) = heard
    assert (task["id"], task["result"]) == (outcome.envelope.id, 5)
    assert "ack_id" not in task


def test_run_that_others_had_is_not_announced(
    open_bench: Callable[..., Bench], heard: list[dict[str, Any]]
) -> None:
    bench = open_bench()
    bench.end(ended(5, hook=HOOK))
    bench.save(discarded=True)

    assert (heard, HOOKED) == ([], [])


def test_receivers_get_a_dict_of_their_own(
    open_bench: Callable[..., Bench],
) -> None:
    def spoil(task: dict[str, Any], **_: Any) -> None:
        task.clear()

    bench = open_bench()
    outcome = ended(5)
    post_execute.connect(spoil)
    try:
        bench.end(outcome)
        bench.save()
    finally:
        post_execute.disconnect(spoil)
    assert outcome.as_dict()["result"] == 5


def test_receiver_that_raises_ends_nothing_but_itself(
    open_bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(**_: Any) -> None:
        raise SystemExit("oh")

    bench = open_bench()
    post_execute.connect(stumble)
    try:
        for number in (1, 2):
            bench.end(ended(5, task_name="mine"), number)
            bench.save(number)
    finally:
        post_execute.disconnect(stumble)

    text = "a receiver of post_execute failed on [mine] because SystemExit: oh"
    assert caplog.messages == [text] * 2
    assert not bench.worker.kept
    assert not bench.worker.unfinished


def test_nothing_is_kept_for_announcing_where_nobody_listens(
    open_bench: Callable[..., Bench],
) -> None:
    bench = open_bench(max_attempts=2)
    bench.end(ended("no", success=False, hook=HOOK))
    assert not bench.worker.unfinished


@pytest.mark.parametrize("receipt", [12, "7:1", ("shelf", 7), None])
def test_receivers_in_the_worker_see_the_receipt_as_the_broker_gave_it(
    open_bench: Callable[..., Bench], receipt: Any
) -> None:
    seen: list[Any] = []

    def look(task: dict[str, Any], **_: Any) -> None:
        seen.append(task["ack_id"])

    bench = open_bench()
    entry = Ledger(1).take(Delivery(name_of(receipt), "package"))
    package = ended().envelope.seal()
    parcel, worker = make_parcel(receipt=entry.receipt, package=package), bench.worker
    pre_execute.connect(look)
    try:
        envelope = open_parcel(parcel, worker.opener, worker.options)
        outcome = worker.run_task(parcel, envelope)
    finally:
        pre_execute.disconnect(look)
        worker.runner.close()
    assert outcome.success
    assert seen == [receipt]
