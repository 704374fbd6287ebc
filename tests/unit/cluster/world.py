"""A cluster without processes: every store and every send is a step of its own.

The pusher with its ledger and recovery is the real one; worker, monitor, broker and
lines are as simple as the rules of their real counterparts allow. Chance decides who
takes the next step, and who dies before it.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from django_q.brokers import Delivery
from django_q.cluster.board import Cell, Row, Word
from django_q.cluster.frames import HEADER, Frame, Kind, control
from django_q.cluster.launching import places_for
from django_q.cluster.ledger import Ledger
from django_q.cluster.recovery import Recovery
from django_q.options import Options
from tests.unit.cluster.making import make_board

OPTIONS = Options(workers=3, max_deliveries=10**6)
SENTINEL = "sentinel"


class Violation(Exception):
    """A rule of the protocol was broken."""


class Killed(Exception):
    """The role that was at work is dead."""


class Wire:
    """One end of a line, whose other end is in the same process."""

    def __init__(self) -> None:
        self.inbox: deque[Frame] = deque()
        self.closed = False
        self.is_waiting = False
        self.peer = self

    @classmethod
    def pair(cls) -> tuple[Wire, Wire]:
        one, other = cls(), cls()
        one.peer, other.peer = other, one
        return one, other

    def send(self, data: bytes) -> None:
        if self.peer.closed:
            self.close()
        if not self.closed:
            kind = HEADER.unpack_from(data)[1]
            self.peer.inbox.append(Frame(Kind(kind), data[HEADER.size :]))

    def receive(self) -> list[Frame]:
        frames = list(self.inbox)
        self.inbox.clear()
        if self.peer.closed:
            self.close()
        return frames

    def close(self) -> None:
        self.closed = True
        self.inbox.clear()


class Meeting(NamedTuple):
    """A peer is introduced."""

    kind: str
    generation: int
    row: int
    wire: Wire


class Actor:
    """A role, step by step."""

    kind = ""

    def __init__(self, world: World, generation: int, row: int) -> None:
        self.world = world
        self.generation = generation
        self.row_number = row
        self.is_alive = True
        self.mail: deque[Meeting | Frame] = deque()
        self.ends: list[Wire] = []
        self.weight = world.rng.choice([0.1, 1.0, 1.0, 1.0, 5.0])
        self.steps = self.live()

    def live(self) -> Iterator[None]:
        raise NotImplementedError

    def die(self) -> None:
        self.is_alive = False
        for wire in self.ends:
            wire.close()


class Box:
    """A package in the broker."""

    def __init__(self, task: int) -> None:
        self.task = task
        self.deliveries = 0
        self.starts = 0
        self.is_leased = False

    @property
    def receipt(self) -> str:
        return f"{self.task}:{self.deliveries}"

    def hand_out(self) -> Delivery:
        counts = (self.deliveries, self.starts)
        return Delivery(self.receipt, str(self.task), *counts)


class Shelf:
    """A broker with leases that do not run out; others act while one asks it."""

    supports_leases = True
    supports_atomic = False

    def __init__(self, world: World, tasks: int) -> None:
        self.world = world
        self.boxes = {task: Box(task) for task in range(tasks)}

    def find(self, receipt: str) -> Box | None:
        box = self.boxes.get(int(receipt.partition(":")[0]))
        return box if box and box.is_leased and box.receipt == receipt else None

    def dequeue(self, count: int) -> list[Delivery]:
        free = [box for box in self.boxes.values() if not box.is_leased][:count]
        for box in free:
            box.is_leased, box.deliveries = True, box.deliveries + 1
        self.world.let_others_act()
        return [box.hand_out() for box in free]

    def held(self) -> list[Delivery]:
        self.world.let_others_act()
        held = [box.hand_out() for box in self.boxes.values() if box.is_leased]
        self.world.let_others_act()
        return held

    def renew(self, receipts: Sequence[str]) -> set[str]:
        self.world.let_others_act()
        return {receipt for receipt in receipts if self.find(receipt)}

    def has(self, receipt: str) -> bool:
        return int(receipt.partition(":")[0]) in self.boxes

    def settle(self, done: Sequence[str]) -> None:
        """The receipts say all that is to be known."""

    def redeliver(self, receipt: str) -> Delivery | None:
        self.world.let_others_act()
        box = self.find(receipt)
        if box is None:
            return None
        box.deliveries, box.starts = box.deliveries + 1, box.starts + 1
        return box.hand_out()

    def mark_started(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            box = self.find(receipt)
            if box is not None:
                box.starts += 1

    def release(self, receipts: Sequence[str]) -> set[str]:
        ours = {receipt: self.find(receipt) for receipt in receipts}
        for box in filter(None, ours.values()):
            box.is_leased = False
        return {receipt for receipt, box in ours.items() if box}

    def acknowledge(self, receipt: str) -> bool:
        box = self.find(receipt)
        return box is not None and self.boxes.pop(box.task) is box


class Rules(NamedTuple):
    """What may be replaced by something wrong, to see that it is noticed."""

    ledger: type[Ledger] = Ledger
    recovery: type[Recovery] = Recovery
    clear_before_send: bool = False
    raise_void: bool = True
    void_grows: bool = True
    reasons_go_back: bool = True
    places: int = 1
    """Tasks that a worker has at once."""

    @property
    def options(self) -> Options:
        return replace(OPTIONS, concurrency=self.places)


class World:
    """Everything at once, and chance."""

    def __init__(
        self,
        seed: int,
        make: Callable[[World, str, int, int], Actor],
        rules: Rules,
        tasks: int = 9,
    ) -> None:
        self.rng = random.Random(seed)
        self.make = make
        self.rules = rules
        self.board = make_board(2 * OPTIONS.worker_count, places_for(rules.options))
        # No lease ends here.
        self.board[Word.LEASE_UNTIL] = 2**63
        self.shelf = Shelf(self, tasks)
        self.kills = self.rng.randrange(1, 9)
        self.haste = self.rng.choice([0.005, 0.02, 0.06])
        self.tasks = tasks
        self.done: set[int] = set()
        self.ended: set[int] = set()
        self.repeated = 0
        self.killed: Counter[str] = Counter()
        self.running: dict[int, Actor] = {}
        self.generation = 0
        self.actors: list[Actor] = []
        self.unburied: dict[int, Frame] = {}
        self.reports: list[Wire] = []
        self.depth = 0
        self.time = 1000.0
        self.pace = self.rng.choice([0.3, 0.03, 0.003])
        for kind in ("monitor", "pusher", *["worker"] * OPTIONS.worker_count):
            self.spawn(kind)

    # -- chance

    def run(self, most_steps: int = 60_000) -> None:
        for _ in range(most_steps):
            if not self.shelf.boxes:
                return
            self.step()
        raise Violation(f"never ended: {sorted(self.shelf.boxes)}")

    def step(self, spare: Actor | None = None) -> None:
        """Somebody takes a step; perhaps somebody dies."""
        self.time += self.pace
        if self.kills and self.rng.random() < self.haste:
            self.kill(self.rng.choice([1, 1, 1, 2, 3]))
        able = [a for a in self.actors if a.is_alive and a is not spare]
        weights = [0.5, *(actor.weight for actor in able)]
        (chosen,) = self.rng.choices([None, *able], weights)
        if chosen is None:
            self.supervise()
            return
        try:
            next(chosen.steps)
        except Killed:
            return

    def let_others_act(self) -> None:
        """Time passes for the pusher, the only one that is ever in the middle."""
        if self.depth or self.rng.random() < 0.3:
            return
        pusher = self.single("pusher")
        self.depth += 1
        for _ in range(self.rng.choice([1, 3, 10, 40])):
            self.step(pusher)
        self.depth -= 1
        if pusher is not None and not pusher.is_alive:
            raise Killed

    def kill(self, count: int) -> None:
        for _ in range(count):
            living = [actor for actor in self.actors if actor.is_alive]
            if living and self.kills:
                kinds = sorted({actor.kind for actor in living})
                kind = self.rng.choice(kinds)
                victims = [actor for actor in living if actor.kind == kind]
                self.rng.choice(victims).die()
                self.killed[kind] += 1
                self.kills -= 1

    # -- the sentinel

    def supervise(self) -> None:
        for wire in self.reports:
            for frame in wire.receive():
                self.hear_buried(frame.facts["generation"])
        dead = [actor for actor in self.actors if not actor.is_alive]
        if dead:
            self.reap(self.rng.choice(dead))
        for kind in ("monitor", "pusher"):
            if self.single(kind) is None:
                self.spawn(kind)
        missing = OPTIONS.worker_count - len(self.workers)
        if missing and self.rng.random() < 0.5:
            self.spawn("worker")

    def hear_buried(self, generation: int) -> None:
        self.unburied.pop(generation, None)
        for row in self.board.rows:
            if row.generation == generation:
                row.clear()

    def reap(self, actor: Actor) -> None:
        self.actors.remove(actor)
        if actor.kind != "worker":
            return
        row = self.board.rows[actor.row_number]
        frame = self.obituary(actor.generation, row)
        self.unburied[actor.generation] = frame
        pusher = self.single("pusher")
        if pusher is not None:
            pusher.mail.append(frame)

    def obituary(self, generation: int, row: Row) -> Frame:
        begun = row.begun()
        facts = {
            "generation": generation,
            "number": row[Cell.NUMBER],
            "begun": begun,
            "cause": self.rng.choice(["lost", "lost", "innocent", "timed out"]),
            "culprit": begun[generation % len(begun)].number if begun else 0,
            "text": "Its worker died.",
        }
        data = control(Kind.DEAD, **facts)
        return Frame(Kind.DEAD, data[HEADER.size :])

    def spawn(self, kind: str) -> None:
        row = -1
        if kind == "worker":
            taken = {a.row_number for a in self.workers} | {-1}
            rows = enumerate(self.board.rows)
            mourned = self.unburied
            free = [
                n for n, r in rows if n not in taken and r.generation not in mourned
            ]
            if not free:
                return
            row = free[0]
            self.board.rows[row].clear()
        self.generation += 1
        actor = self.make(self, kind, self.generation, row)
        if row >= 0:
            self.board.rows[row].belongs_to(actor.generation, 1)
        for other in self.actors:
            if other.kind != kind:
                self.introduce(actor, other)
        self.actors.append(actor)
        if kind == "pusher":
            actor.mail.extend(self.unburied.values())

    def introduce(self, one: Actor, other: Actor) -> None:
        ends = Wire.pair()
        for actor, peer, wire in ((one, other, ends[0]), (other, one, ends[1])):
            meeting = Meeting(peer.kind, peer.generation, peer.row_number, wire)
            actor.mail.append(meeting)
            actor.ends.append(wire)
            if not actor.is_alive:
                wire.close()

    @property
    def workers(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.kind == "worker"]

    def single(self, kind: str) -> Actor | None:
        """The one of its kind that is not collected yet, dead or alive."""
        return next((actor for actor in self.actors if actor.kind == kind), None)

    # -- the rules

    def begin(self, worker: Actor, task: int, reason: str) -> None:
        """A task begins to run. This is where most things would go wrong."""
        other = self.running.get(task)
        if other is not None and other.is_alive:
            raise Violation(f"task {task} runs in two living workers")
        if task in self.done:
            raise Violation(f"task {task} is done, and runs again")
        if task in self.ended and not reason:
            raise Violation(f"task {task} runs again, and nobody says so")
        self.check_no_copy(task)
        self.running[task] = worker

    def check_no_copy(self, task: int) -> None:
        """Nobody who lives may have the end of this task."""
        for actor in self.actors:
            has: Collection[int] = getattr(actor, "tasks_ended", lambda: ())()
            if actor.is_alive and task in has:
                text = f"task {task} runs again, and a {actor.kind} has its end"
                raise Violation(text)

    def end(self, task: int) -> None:
        self.running.pop(task, None)
        self.repeated += task in self.ended
        self.ended.add(task)

    def save(self, task: int, receipt: str) -> None:
        """The monitor saves and acknowledges in one transaction."""
        if self.shelf.acknowledge(receipt):
            self.done.add(task)
        elif task not in self.done:
            raise Violation(f"the end of task {task} is thrown away")
