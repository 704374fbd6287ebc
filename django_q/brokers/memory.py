"""Memory: a queue in this process, with everything the contract promises; for tests."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from django_q.brokers.base import Broker, Consignment, Delivery
from django_q.brokers.priorities import bounded
from django_q.conf import get_options

PULSE: Final = 0.005


@dataclass(slots=True)
class Slip:
    """A package on the pile, and what is known about it."""

    id: int
    package: str
    due: float
    """Before this moment nobody may take it."""

    task_id: str | None = None
    priority: int = 0
    holder: str | None = None
    deliveries: int = 0
    starts: int = 0
    attempts: int = 0
    rescues: int = 0

    @property
    def receipt(self) -> str:
        return f"{self.id}:{self.deliveries}"

    def hand_out(self) -> Delivery:
        counts = (self.deliveries, self.starts, self.attempts, self.rescues)
        return Delivery(self.receipt, self.package, *counts)


@dataclass
class Pile:
    """One queue. Whoever looks at its slips holds its lock."""

    slips: dict[int, Slip] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.Condition = field(default_factory=threading.Condition)
    version: int = 0
    is_paused: bool = False
    known: dict[str, int] = field(default_factory=dict)
    """Slips by ids that stay known when their tasks have ended."""

    def find(self, task_id: str) -> Slip | None:
        return next((s for s in self.slips.values() if s.task_id == task_id), None)

    def change(self) -> None:
        """Tell everybody that something may have arrived."""
        self.version += 1
        self.lock.notify_all()


class Memory(Broker):
    """Carries packages inside this process: all instances of a queue share it."""

    supports_receipts = True
    supports_leases = True
    supports_delay = True
    supports_ids = True
    supports_once = True
    supports_bulk = True
    supports_priority = True
    supports_cancel = True
    supports_peek = True
    supports_pause = True

    _piles: Final[dict[str, Pile]] = defaultdict(Pile)
    """The one thing in the house that is shared by being a module's: it is its purpose."""

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._holder: str | None = None
        self._lease = get_options().retry
        self._seen = -1
        self._listed_since = monotonic()

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        self.__init__(state[0])  # type: ignore[misc]

    # -- producing and consuming

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
        once: bool = False,
    ) -> int:
        consignment = Consignment(package, self.list_key, task_id, delay, priority)
        with self._pile.lock:
            if not (once and task_id):
                return self._put(consignment)
            if task_id not in self._pile.known:
                self._pile.known[task_id] = self._put(consignment)
            return self._pile.known[task_id]

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        for consignment in consignments:
            self._put(consignment)

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        wanted = count or get_options().bulk or 1
        with self._pile.lock:
            taken = self._take(wanted)
            if not taken and self._holder is None:
                self._pile.lock.wait(get_options().poll)
                taken = self._take(wanted)
        return taken

    def acknowledge(self, receipt: str) -> bool:
        return bool(Memory.acknowledge_many(self, [receipt]))

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        return self._change(receipts, lambda slip: self._pile.slips.pop(slip.id))

    fail = delete = acknowledge

    def cancel(self, task_id: str) -> bool:
        with self._pile.lock:
            slip = self._pile.find(task_id)
            if slip is None or slip.holder is not None:
                return False
            return bool(self._pile.slips.pop(slip.id))

    def peek(self, count: int = 10) -> list[str]:
        with self._pile.lock:
            return [slip.package for slip in self._takeable()[:count]]

    # -- the queue as a whole

    def queue_size(self) -> int:
        return self._count(lambda slip: slip.due <= monotonic())

    def lock_size(self) -> int:
        return self._count(lambda slip: slip.due > monotonic())

    def purge_queue(self) -> None:
        with self._pile.lock:
            self._pile.slips.clear()
            self._pile.known.clear()

    delete_queue = purge_queue

    def pause(self) -> None:
        self._pile.is_paused = True

    def resume(self) -> None:
        with self._pile.lock:
            self._pile.is_paused = False
            self._pile.change()

    def is_paused(self) -> bool:
        return self._pile.is_paused

    def info(self) -> str:
        return "Memory"

    # -- leases

    def enlist(self, cluster: str, lease: float) -> None:
        self._holder, self._lease = cluster, lease
        self._listed_since = monotonic()

    def renew(self, receipts: Sequence[str]) -> set[str]:
        return self._change(receipts, self._lease_anew)

    def held(self) -> list[Delivery]:
        with self._pile.lock:
            slips = self._pile.slips.values()
            return [
                s.hand_out() for s in slips if s.holder and s.holder == self._holder
            ]

    def redeliver(self, receipt: str) -> Delivery | None:
        found: list[Delivery] = []

        def start_again(slip: Slip) -> None:
            self._lease_anew(slip)
            slip.deliveries += 1
            slip.starts += 1
            found.append(slip.hand_out())

        self._change([receipt], start_again)
        return found[0] if found else None

    def mark_started(self, receipts: Sequence[str]) -> None:
        def count_start(slip: Slip) -> None:
            slip.starts += 1

        self._change(receipts, count_start)

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        def give_back(slip: Slip) -> None:
            slip.holder = None
            slip.attempts += failed
            # Back to the head of the queue, unless it is to wait.
            slip.due = monotonic() + delay if delay or failed else 0.0

        return self._change(receipts, give_back)

    def rescue(self) -> list[str]:
        now = monotonic()
        if now - self._listed_since < self._lease:
            return []
        ours = (None, self._holder)
        return self._free(lambda slip: slip.holder not in ours and slip.due <= now)

    def rescue_from(self, cluster: str) -> list[str]:
        return self._free(lambda slip: slip.holder == cluster)

    # -- waking up

    def has_news(self) -> bool:
        with self._pile.lock:
            seen, self._seen = self._seen, self._pile.version
        return seen != self._seen

    def pulse(self) -> float:
        return PULSE

    def next_due(self) -> float | None:
        now = monotonic()
        with self._pile.lock:
            slips = self._pile.slips.values()
            rests = [s.due - now for s in slips if s.holder is None]
        return min((rest for rest in rests if rest > 0), default=None)

    def pass_time(self, seconds: float) -> None:
        """As if so much time had passed for all packages of this queue; for tests."""
        with self._pile.lock:
            for slip in self._pile.slips.values():
                slip.due -= seconds
            self._listed_since -= seconds

    def count_held(self) -> int:
        """Packages that any cluster holds; for tests."""
        return self._count(lambda slip: slip.holder is not None)

    # -- the pile

    @property
    def _pile(self) -> Pile:
        return self._piles[self.list_key]

    def _put(self, consignment: Consignment) -> int:
        package, queue, task_id, delay, priority = consignment
        pile = self._piles[queue]
        with pile.lock:
            known = pile.find(task_id) if task_id else None
            if known is not None:
                return known.id
            due = monotonic() + delay
            rank = bounded(priority)
            slip = Slip(next(pile.numbers), package, due, task_id, rank)
            pile.slips[slip.id] = slip
            pile.change()
            return slip.id

    def _take(self, count: int) -> list[Delivery]:
        taken = [] if self._pile.is_paused else self._takeable()[:count]
        for slip in taken:
            slip.holder = self._holder
            slip.deliveries += 1
            self._lease_anew(slip)
        return [slip.hand_out() for slip in taken]

    def _takeable(self) -> list[Slip]:
        """Those that may be taken, in the order in which they are."""
        now, slips = monotonic(), self._pile.slips.values()
        free = [s for s in slips if s.due < now and self._may_take(s)]
        return sorted(free, key=lambda slip: (-slip.priority, slip.due, slip.id))

    def _free(self, is_lost: Callable[[Slip], bool]) -> list[str]:
        """Take from their clusters what is lost there."""
        texts = []
        with self._pile.lock:
            lost = filter(is_lost, self._pile.slips.values())
            for slip in itertools.islice(lost, self.rescued_at_once):
                texts.append(f"task {slip.task_id} of cluster {slip.holder}")
                slip.holder = None
                slip.rescues += 1
                slip.due = 0.0
            self._pile.change()
        return texts

    def _may_take(self, slip: Slip) -> bool:
        return slip.holder is None or self._holder is None

    def _lease_anew(self, slip: Slip) -> None:
        slip.due = monotonic() + self._lease

    def _change(
        self, receipts: Sequence[str], change: Callable[[Slip], object]
    ) -> set[str]:
        """Change those that are still ours, and give their receipts."""
        ours = set()
        with self._pile.lock:
            for receipt in receipts:
                slip = self._pile.slips.get(int(str(receipt).partition(":")[0]))
                if slip is not None and self._is_ours(slip, receipt):
                    change(slip)
                    ours.add(receipt)
            self._pile.change()
        return ours

    def _is_ours(self, slip: Slip, receipt: str) -> bool:
        if str(slip.id) == str(receipt):
            return True
        return slip.receipt == receipt and slip.holder == self._holder

    def _count(self, is_counted: Callable[[Slip], bool]) -> int:
        with self._pile.lock:
            return sum(map(is_counted, self._pile.slips.values()))
