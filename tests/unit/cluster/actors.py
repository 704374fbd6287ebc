"""Worker, monitor and pusher of the world without processes, and its wrong variants."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import isqrt
from types import SimpleNamespace
from typing import Any

from django_q.brokers import Broker
from django_q.cluster.board import Cell, PlaceCell, State, Turn, mark_of
from django_q.cluster.concurrent_pushing import ConcurrentPusher
from django_q.cluster.frames import (
    Errand,
    Frame,
    Kind,
    Parcel,
    Report,
    control,
    decode_parcels,
    decode_report,
    encode_report,
)
from django_q.cluster.hands import Hand
from django_q.cluster.pushing import Pusher
from django_q.cluster.recovery import forbid_former_parcels
from django_q.cluster.trouble import Trouble
from tests.unit.cluster.world import Actor, Meeting, Rules, Violation, Wire, World


class WorkerActor(Actor):
    """Takes up parcels as working.Worker does."""

    kind = "worker"

    def __init__(self, world: World, generation: int, row: int) -> None:
        super().__init__(world, generation, row)
        self.row = world.board.rows[row]
        self.pusher: Wire | None = None
        self.monitor: Wire | None = None
        self.inbox: deque[Parcel] = deque()
        self.kept: dict[int, Report] = {}

    def tasks_ended(self) -> set[int]:
        return {int(report.record) for report in self.kept.values()}

    def live(self) -> Iterator[None]:
        while True:
            self.collect()
            yield
            if self.inbox and self.monitor is not None:
                yield from self.take_up(self.inbox.popleft())

    def collect(self) -> None:
        while self.mail:
            meeting = self.mail.popleft()
            if isinstance(meeting, Meeting):
                self.meet(meeting.kind, meeting.wire)
        for frame in self.pusher.receive() if self.pusher else ():
            self.inbox.extend(decode_parcels(frame.body))
        for frame in self.monitor.receive() if self.monitor else ():
            for number in frame.facts["numbers"]:
                self.kept.pop(number, None)
                self.row[Cell.KEPT] = len(self.kept)
        self.pusher = self.pusher if self.pusher and not self.pusher.closed else None
        if self.monitor and self.monitor.closed:
            self.monitor = None

    def meet(self, kind: str, wire: Wire) -> None:
        if kind == "pusher":
            self.pusher = wire
            self.inbox.clear()
            return
        self.monitor = wire
        for report in self.kept.values():
            wire.send(encode_report(report._replace(again=True)))
        wire.send(control(Kind.HELLO))

    def show(self, number: int, state: State) -> None:
        self.row[Cell.TURN] = Turn(number, state, 0).pack()

    def take_up(self, parcel: Parcel) -> Iterator[None]:
        number = parcel.number
        if number <= self.row[Cell.VOID]:
            return
        self.row[Cell.NUMBER] = number
        yield
        self.row[Cell.KEY] = parcel.key
        yield
        self.show(number, State.OPENING)
        yield
        if number <= self.row[Cell.VOID]:
            self.show(number, State.IDLE)
            yield
            if self.pusher is not None:
                self.pusher.send(control(Kind.DROPPED, number=number))
            return
        yield
        yield from self.perform(parcel)

    def perform(self, parcel: Parcel) -> Iterator[None]:
        task = int(parcel.package)
        if parcel.errand is not Errand.CONCLUDE:
            self.world.begin(self, task, parcel.text)
            self.show(parcel.number, State.RUNNING)
            for _ in range(self.world.rng.choice([1, 2, 10])):
                yield
            self.world.end(task)
        report = Report(parcel.number, parcel.receipt, False, str(task).encode())
        self.kept[parcel.number] = report
        if self.world.rules.clear_before_send:
            self.show(parcel.number, State.IDLE)
            yield
        yield from self.report(report)
        self.show(parcel.number, State.IDLE)

    def report(self, report: Report) -> Iterator[None]:
        self.row[Cell.KEPT] = len(self.kept)
        yield
        if self.monitor is not None:
            self.monitor.send(encode_report(report))
        yield
        while report.number in self.kept and self.monitor is None:
            self.collect()
            yield


class WideWorkerActor(WorkerActor):
    """Has several tasks at once, as concurrent_working.ConcurrentWorker does."""

    def live(self) -> Iterator[None]:
        self.free = list(range(self.world.rules.places))
        self.indices: dict[int, int] = {}
        going: list[Iterator[None]] = []
        while True:
            self.collect()
            self.row[Cell.ROOM] = len(self.free)
            yield
            if self.inbox and self.monitor is not None and self.free:
                parcel = self.inbox.popleft()
                if parcel.number > self.row[Cell.VOID]:
                    yield from self.begin(parcel)
                if parcel.number in self.indices:
                    going.append(self.perform(parcel))
            if going:
                one = self.world.rng.choice(going)
                if next(one, self) is self:
                    going.remove(one)

    def begin(self, parcel: Parcel) -> Iterator[None]:
        index = self.free.pop()
        self.indices[parcel.number] = index
        place = self.row.place(index)
        place[PlaceCell.NUMBER] = parcel.number
        yield
        place[PlaceCell.KEY] = parcel.key
        yield
        self.row[Cell.NUMBER] = parcel.number
        yield
        self.show(parcel.number, State.OPENING)
        yield
        if parcel.number <= self.row[Cell.VOID]:
            self.show(parcel.number, State.IDLE)
            yield
            if self.pusher is not None:
                self.pusher.send(control(Kind.DROPPED, number=parcel.number))

    def show(self, number: int, state: State) -> None:
        index = self.indices[number]
        self.row.place(index)[PlaceCell.TURN] = Turn(number, state, 0).pack()
        if state is State.IDLE:
            self.free.append(self.indices.pop(number))


class MonitorActor(Actor):
    """Saves and testifies as monitoring.Monitor does."""

    kind = "monitor"

    def __init__(self, world: World, generation: int, row: int) -> None:
        super().__init__(world, generation, row)
        self.workers: dict[int, Wire] = {}
        self.pusher: Wire | None = None
        self.unsaved: dict[int, tuple[int, Report]] = {}
        self.greeted: set[int] = set()

    def tasks_ended(self) -> set[int]:
        reports = [report for _sender, report in self.unsaved.values()]
        for wire in self.ends:
            records = [f for f in wire.inbox if f.kind is Kind.RECORD]
            reports += [decode_report(frame.body) for frame in records]
        return {int(report.record) for report in reports}

    def live(self) -> Iterator[None]:
        while True:
            self.read_mail()
            yield
            for generation in list(self.workers):
                if generation in self.workers:
                    self.hear_worker(generation)
                yield
            if self.pusher is not None:
                self.hear_pusher(self.pusher)
            yield
            if self.unsaved and self.world.rng.random() < 0.5:
                yield from self.settle()

    def read_mail(self) -> None:
        while self.mail:
            meeting = self.mail.popleft()
            if isinstance(meeting, Frame):
                continue
            if meeting.kind == "pusher":
                self.pusher = meeting.wire
            else:
                self.workers[meeting.generation] = meeting.wire

    def hear_worker(self, generation: int) -> None:
        wire = self.workers[generation]
        for frame in wire.receive():
            if frame.kind is Kind.RECORD:
                report = decode_report(frame.body)
                self.unsaved[report.number] = (generation, report)
            elif frame.kind is Kind.HELLO:
                self.greeted.add(generation)
        if wire.closed:
            self.workers.pop(generation)

    def hear_pusher(self, pusher: Wire) -> None:
        frames = pusher.receive()
        if frames:
            self.read_mail()
        for frame in frames:
            if frame.kind is Kind.FINISH:
                self.tell_last_words(pusher, frame.facts["generation"])
            elif frame.kind is Kind.LIST:
                self.tell_list(pusher)
        if pusher.closed and self.pusher is pusher:
            self.pusher = None

    def tell_last_words(self, pusher: Wire, generation: int) -> None:
        if generation in self.workers:
            self.hear_worker(generation)
        wire = self.workers.pop(generation, None)
        if wire is not None:
            wire.close()
        came = [n for n, (sender, _) in self.unsaved.items() if sender == generation]
        pusher.send(control(Kind.ARRIVED, generation=generation, numbers=came))

    def tell_list(self, pusher: Wire) -> None:
        for generation in list(self.workers):
            self.hear_worker(generation)
        keys = [mark_of(report.receipt) for _, report in self.unsaved.values()]
        pusher.send(control(Kind.LISTED, keys=keys, greeted=list(self.greeted)))

    def settle(self) -> Iterator[None]:
        most = self.world.rng.randrange(1, 6)
        batch = list(self.unsaved.values())[:most]
        for _sender, report in batch:
            self.world.save(int(report.record), report.receipt)
        yield
        for sender, report in batch:
            del self.unsaved[report.number]
            wire = self.workers.get(sender)
            if wire is not None:
                wire.send(control(Kind.SAVED, numbers=[report.number]))
        yield
        receipts = [report.receipt for _sender, report in batch]
        if self.pusher is not None:
            self.pusher.send(control(Kind.SETTLED, receipts=receipts, done=receipts))


class StepwisePusher(Pusher):
    """The real pusher; only its waiting is done by others."""

    def __init__(self, actor: PusherActor) -> None:
        world = actor.world
        launch: Any = SimpleNamespace(generation=actor.generation)
        control_wire: Any = actor.control
        options = world.rules.options
        self.launch, self.options, self.board = launch, options, world.board
        self.title, self.control = "pusher", control_wire
        self.ledger = world.rules.ledger(actor.generation)
        parts = (self.ledger, self.board, self.control, self.options)
        self.recovery = world.rules.recovery(*parts)
        shelf: Any = world.shelf
        self.broker: Broker = shelf
        self.hands: dict[int, Hand] = {}
        self.monitor = None
        self.is_quiet = self.is_stopping = False
        self.trouble = Trouble()


class StepwiseConcurrentPusher(StepwisePusher, ConcurrentPusher):
    """The same for workers that have several tasks at once."""

    _emptying = None


class PusherActor(Actor):
    """Leads the real pusher through its turns."""

    kind = "pusher"

    def __init__(self, world: World, generation: int, row: int) -> None:
        super().__init__(world, generation, row)
        self.control, far = Wire.pair()
        self.ends.append(self.control)
        world.reports.append(far)
        is_wide = world.rules.places > 1
        self.pusher = (StepwiseConcurrentPusher if is_wide else StepwisePusher)(self)

    def live(self) -> Iterator[None]:
        pusher, rng = self.pusher, self.world.rng
        if self.world.rules.raise_void:
            forbid_former_parcels(self.world.board, self.generation)
        yield
        while True:
            self.collect()
            yield
            pusher.recovery.advance(pusher.broker)
            yield
            if rng.random() < 0.2:
                self.give_back()
            if not pusher.recovery.is_under_way and rng.random() < 0.5:
                for delivery in pusher.broker.dequeue(rng.randrange(1, 5)) or ():
                    pusher.ledger.take(delivery)
                yield
            pusher.hand_over()
            self.check_suspects()
            yield
            if pusher.hands and rng.random() < 0.2:
                self.take_back(rng.choice(list(pusher.hands.values())))

    def check_suspects(self) -> None:
        """The pusher looks at the first entry of a hand only. Where one worker ran many
        tasks there are many suspects, and a few may be together.
        """
        most = isqrt(self.world.rules.places)
        for held in self.pusher.ledger.hands.values():
            suspects = sum(entry.is_suspect for entry in held.values())
            if suspects and (len(held) > suspects or suspects > most):
                raise Violation("a suspect is not alone")

    def give_back(self) -> None:
        """As a pusher does that stops, or has fetched too much."""
        free = list(self.pusher.ledger.free)
        if not self.world.rules.reasons_go_back:
            for entry in free:
                entry.text = ""
        self.pusher._give_back(free)  # noqa: SLF001

    def take_back(self, hand: Hand) -> None:
        if not self.world.rules.void_grows:
            hand.row[Cell.VOID] = 0
        self.pusher.take_back(hand)

    def collect(self) -> None:
        """Sentinel first, then monitor, then workers: as Pusher.collect does."""
        pusher = self.pusher
        while self.mail:
            item: Any = self.mail.popleft()
            if isinstance(item, Meeting):
                pusher.meet(*item[:3], item.wire)  # type: ignore[arg-type]
            else:
                pusher.mourn(item)
        pusher._hear_monitor()  # noqa: SLF001
        for hand in list(pusher.hands.values()):
            pusher._hear_worker(hand)  # noqa: SLF001


KINDS: dict[str, type[Actor]] = {
    actor.kind: actor for actor in (WorkerActor, MonitorActor, PusherActor)
}


def make_actor(world: World, kind: str, generation: int, row: int) -> Actor:
    if kind == "worker" and world.rules.places > 1:
        return WideWorkerActor(world, generation, row)
    return KINDS[kind](world, generation, row)


def lone_pusher(rules: Rules | None = None) -> StepwisePusher:
    """The pusher of a world in which nothing moves."""
    actor = World(1, make_actor, rules or Rules()).single("pusher")
    assert isinstance(actor, PusherActor)
    return actor.pusher
