"""Ledger: who holds which package. The pusher's memory, without any side effect.

The pusher alone decides who may start a parcel; everybody else only testifies. A task
only moves downstream: broker, pusher, worker, monitor, gone. What certainly was not
started moves freely; what may have been started is given out again only after the
broker confirmed that the lease still stands.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple, Self

from django_q.brokers.base import Delivery
from django_q.cluster.board import EPOCH_SHIFT, Begun, mark_of, number_of
from django_q.cluster.frames import UNRECEIPTED, Errand, Parcel

WORKER_DIED: Final = "Its worker died."
CLUSTER_DIED: Final = "Its cluster died, or lost its lease."
NO_END: Final = "No end of it was recorded."
BESIDE: Final = "Its worker was killed for another task."
MANY_REASONS: Final = (
    "Delivery %s: it failed before, was given back, or its lease ran out."
)
"""Why a task starts again; the last where only deliveries are counted."""


class Place(enum.Enum):
    """Where a package is, as far as the pusher knows."""

    FREE = enum.auto()
    """Here; no worker has it."""
    HANDED = enum.auto()
    """With a living worker."""
    DOUBTFUL = enum.auto()
    """Its worker died; the monitor is asked whether its end had come."""
    ARRIVED = enum.auto()
    """Its end is with the monitor."""
    PARKED = enum.auto()
    """Nobody here knows of it; perhaps a worker keeps its end."""


@dataclass(slots=True, eq=False)
class Entry:
    """One package that this cluster has leased."""

    receipt: str
    delivery: Delivery
    mark: int
    place: Place = Place.FREE
    worker: int = 0
    """Generation of the worker that has or had it."""
    number: int = 0
    errand: Errand = Errand.EXECUTE
    cause: str = ""
    text: str = ""
    is_missed: bool = False
    """The last renewal of the leases did not find it."""
    is_counted: bool = False
    """Its start is counted already: it was handed out before by others."""

    @property
    def is_free(self) -> bool:
        return self.place is Place.FREE

    @property
    def is_suspect(self) -> bool:
        """An earlier start of it ended with its worker, or perhaps took a whole cluster
        down: nothing may stand behind it.
        """
        return self.delivery.starts > 0 or self.delivery.rescues > 0

    @property
    def reason(self) -> str:
        """Why it perhaps does not start for the first time; empty if it does."""
        if self.delivery.rescues:
            return self.text or CLUSTER_DIED
        return self.text or (WORKER_DIED if self.delivery.starts else "")

    @property
    def may_have_run(self) -> bool:
        """It was begun, or who knows. What was only given back was not."""
        return bool(self.reason) or self.delivery.attempts > 0

    @property
    def is_owned_up_here_only(self) -> bool:
        """It has started, and the broker does not know that."""
        return bool(self.text) and not self.delivery.starts

    def as_parcel(self) -> Parcel:
        delivery = self.delivery
        numbers = (self.number, self.mark, delivery.starts, delivery.attempts)
        texts = (self.cause, self.reason, self.receipt, delivery.package)
        errand = self.errand
        if errand is Errand.EXECUTE and self.may_have_run:
            errand = Errand.LOOK_FIRST
        return Parcel(*numbers, errand, *texts)


class Death(NamedTuple):
    """How a worker ended, read off the board when nobody wrote there any more."""

    generation: int
    number: int
    """The last parcel it began."""
    begun: Sequence[Begun]
    """What it had begun and not ended."""
    cause: str
    """Why that did not end: "lost", "timed out", "stopped", or "innocent" when the worker
    was killed for what had ended by then."""
    culprit: int
    """Number of the parcel for which it was killed; 0: none."""
    text: str

    @classmethod
    def told(cls, facts: dict[str, Any]) -> Self:
        """One that came as the facts of a frame."""
        begun = [Begun(*each) for each in facts["begun"]]
        return cls(**facts | {"begun": begun})

    @property
    def opening(self) -> set[int]:
        """Marks of the packages that it was opening."""
        return {begun.key for begun in self.begun if begun.is_opening}

    def cause_of(self, number: int) -> str:
        """Why this one did not end: those beside the culprit are innocent."""
        is_beside = self.cause == "timed out" and number != self.culprit
        return "innocent" if is_beside else self.cause


@dataclass
class Ledger:
    """Every package that this cluster has leased, and where it is."""

    epoch: int
    entries: dict[str, Entry] = field(default_factory=dict)
    free: deque[Entry] = field(default_factory=deque)
    hands: dict[int, dict[int, Entry]] = field(default_factory=dict)
    """Generation of a worker -> what was handed to it and is not settled, by number; what
    it has not begun stands last, and ascends.
    """
    concluding: set[str] = field(default_factory=set)
    """Receipts of what is not to run any more, and whose end is not recorded yet."""
    returned: int = 0
    """Packages given back of which the board does not tell yet."""
    left: int = 0
    """Packages whose lease was left to run out."""
    sequence: int = 0
    knows_starts: bool = True
    """Whether the broker tells starts and rescues from other deliveries."""
    may_have_parked: bool = False
    """Mostly nothing is parked, and nobody need look through the entries for it."""

    def take(self, delivery: Delivery, *, first: bool = False) -> Entry:
        """Note a package that the broker handed out."""
        delivery = Delivery.of(delivery)
        receipt = self._name(delivery.receipt)
        if receipt in self.entries:
            # A broker without leases does not know that we still have it.
            return self.entries[receipt]
        entry = Entry(receipt, delivery, mark_of(receipt))
        if delivery.deliveries > 1 and not self.knows_starts:
            entry.text = MANY_REASONS % delivery.deliveries
        self.entries[receipt] = entry
        self._set_free(entry, first=first)
        return entry

    def take_all(self, deliveries: Iterable[Delivery], *, once: bool) -> None:
        """Note what the broker handed out.

        `once`: it may hand out again, under another receipt, what is still here, such as
        SQS when a renewal came late. That comes once more by itself, and is done by then.
        """
        known = self.entries.values() if once else ()
        here = {entry.delivery.package for entry in known}
        for delivery in deliveries:
            if Delivery.of(delivery).package not in here:
                self.take(delivery)

    def _name(self, receipt: object) -> str:
        """Every package needs a name of its own, also where the broker gives none."""
        if receipt is not None:
            return str(receipt)
        self.sequence += 1
        return f"{UNRECEIPTED}{self.sequence}"

    def hand(self, worker: int, count: int) -> list[Entry]:
        """Give up to `count` free packages to a worker; they get their numbers."""
        hand = self.hands.setdefault(worker, {})
        given = [self.free.popleft() for _ in range(min(count, len(self.free)))]
        for entry in given:
            self.sequence += 1
            entry.number = number_of(self.epoch, self.sequence)
            entry.place, entry.worker = Place.HANDED, worker
            hand[entry.number] = entry
        return given

    def put_in_hand(self, entry: Entry, number: int, worker: int) -> None:
        """A worker has this one from an earlier pusher."""
        self.free.remove(entry)
        entry.place, entry.worker, entry.number = Place.HANDED, worker, number
        self.hands.setdefault(worker, {})[number] = entry

    def set_aside(self, entry: Entry, place: Place) -> None:
        """This one is neither free nor in a worker's hand."""
        self.free.remove(entry)
        self._place(entry, place)

    def unstarted(self, worker: int, last: int) -> list[Entry]:
        """What a worker has and has not begun; `last` is the number it began last."""
        hand = self.hands.get(worker, {})
        return [hand[number] for number in behind(last, hand)]

    def take_back(self, worker: int, last: int) -> list[Entry]:
        """Free everything that a worker has not begun and can't begin any more."""
        back = self.unstarted(worker, last)
        for entry in reversed(back):
            self._leave_hand(entry)
            self._set_free(entry, first=True)
        return back

    def drop(self, worker: int, number: int) -> None:
        """A worker says that it did not start this one. Matched by number, never by
        task: the same task may run elsewhere under a later number.
        """
        entry = self.hands.get(worker, {}).get(number)
        if entry is None:
            return
        if entry.is_missed:
            # It looked begun when the renewal did not find it: others have it.
            self.forget(entry.receipt)
            return
        self._leave_hand(entry)
        if number >> EPOCH_SHIFT == self.epoch:
            self._set_free(entry, first=True)
        else:
            self._place(entry, Place.PARKED)

    def bury(self, death: Death) -> list[Entry]:
        """A worker died: free what it had not begun. Gives what is doubtful now."""
        self.take_back(death.generation, death.number)
        doubtful = list(self.hands.get(death.generation, {}).values())
        numbers = {begun.key: begun.number for begun in death.begun}
        ran = [e for e in self.parked if e.mark in numbers] if numbers else []
        for entry in ran:
            entry.number = numbers[entry.mark]
        doubtful += ran
        for entry in doubtful:
            entry.place, entry.worker = Place.DOUBTFUL, death.generation
        return doubtful

    def witness(
        self, death: Death, arrived: Iterable[int]
    ) -> tuple[list[Entry], list[Entry]]:
        """The monitor told which ends had come. A recorded end wins over a kill.

        Gives the entries whose end is recorded nowhere, and those that were running.
        """
        came, marks = set(arrived), {begun.key for begun in death.begun}
        unrecorded: list[Entry] = []
        running: list[Entry] = []
        for entry in self._doubtful(death.generation):
            self._leave_hand(entry)
            if entry.number in came:
                entry.place = Place.ARRIVED
            elif entry.mark in marks:
                running.append(entry)
            else:
                unrecorded.append(entry)
        self.hands.pop(death.generation, None)
        return unrecorded, running

    @property
    def to_run(self) -> list[Entry]:
        """What is free and not only to be concluded."""
        return [e for e in self.free if e.receipt not in self.concluding]

    def free_again(self, entry: Entry) -> None:
        """The lease of this one stands: it goes out anew, before others."""
        self._set_free(entry, first=True)

    def settle(self, receipts: Iterable[str]) -> None:
        """These are done with: saved, or given back by the monitor."""
        for receipt in receipts:
            self.forget(receipt)

    def forget(self, receipt: str) -> None:
        entry = self.entries.pop(receipt, None)
        if entry is None:
            return
        self.concluding.discard(receipt)
        if entry.place is Place.FREE:
            self.free.remove(entry)
        self._leave_hand(entry)

    def find_lost(self, missing: Iterable[str]) -> list[str]:
        """What is lost of the receipts that a renewal did not find.

        What a worker has begun is given up when it is missed for the second time: the
        worker may have settled it himself, and the news of that is on its way.
        """
        lost = []
        for receipt in missing:
            entry = self.entries.get(receipt)
            if entry is None:
                continue
            if entry.is_missed or entry.place is not Place.HANDED:
                lost.append(receipt)
            entry.is_missed = True
        return lost

    def park_arrived(self) -> None:
        """The monitor is another one: what the former had is perhaps sent again."""
        for entry in self.entries.values():
            if entry.place is Place.ARRIVED:
                self._place(entry, Place.PARKED)

    @property
    def parked(self) -> list[Entry]:
        if not self.may_have_parked:
            return []
        found = [e for e in self.entries.values() if e.place is Place.PARKED]
        self.may_have_parked = bool(found)
        return found

    def _doubtful(self, worker: int) -> list[Entry]:
        doubtful = Place.DOUBTFUL
        found = self.entries.values()
        return [e for e in found if e.place is doubtful and e.worker == worker]

    def _place(self, entry: Entry, place: Place) -> None:
        entry.place = place
        self.may_have_parked |= place is Place.PARKED

    def _leave_hand(self, entry: Entry) -> None:
        hand = self.hands.get(entry.worker)
        if hand is not None:
            hand.pop(entry.number, None)

    def _set_free(self, entry: Entry, *, first: bool) -> None:
        entry.place = Place.FREE
        if first:
            self.free.appendleft(entry)
        else:
            self.free.append(entry)


def behind(last: int, hand: Iterable[int]) -> list[int]:
    """The numbers in a hand that stand behind the one that was begun last; asked for each
    worker many times in a turn.
    """
    numbers = list(hand)
    return numbers[bisect_right(numbers, last) :]


def count_innocents(entries: Iterable[Entry], most: int) -> int:
    """How many of the first, up to so many, stand before a suspect."""
    first = islice(entries, max(0, most))
    return sum(1 for _ in takewhile(lambda entry: not entry.is_suspect, first))


def has_suspect(hand: Mapping[int, Entry]) -> bool:
    """Whether there is one in it. That is alone there."""
    return any(entry.is_suspect for entry in islice(hand.values(), 1))
