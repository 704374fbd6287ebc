"""Broker: the contract of everything that carries packages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple, Self

from django_q.brokers import stats, verbs
from django_q.conf import get_options


class _Pair(NamedTuple):
    receipt: str | None
    package: str


class Delivery(_Pair):
    """A package that the broker handed out, and what it counted about it.

    It is the pair (receipt, package) that brokers have always given, so that
    `for receipt, package in broker.dequeue()` works; the counts are attributes.
    """

    deliveries: int
    """How often it was handed out, this time included."""

    starts: int
    """Starts that were counted because an earlier one ended with its worker's death."""

    attempts: int
    """Runs that ended in failure and are to be repeated."""

    rescues: int
    """How often it was freed from a dead cluster, which perhaps it took down."""

    def __new__(
        cls,
        receipt: str | None,
        package: str,
        deliveries: int = 1,
        starts: int = 0,
        attempts: int = 0,
        rescues: int = 0,
    ) -> Self:
        self = super().__new__(cls, receipt, package)
        self.deliveries = deliveries
        self.starts = starts
        self.attempts = attempts
        self.rescues = rescues
        return self

    @classmethod
    def of(cls, handed_out: tuple[Any, str]) -> Delivery:
        """The delivery in what any broker handed out, be it a plain pair."""
        if isinstance(handed_out, Delivery):
            return handed_out
        return Delivery(*handed_out)

    def _replace(self, **changes: Any) -> Self:
        facts = {"receipt": self.receipt, "package": self.package, **vars(self)}
        return type(self)(**(facts | changes))


class Consignment(NamedTuple):
    """A package on its way to a queue."""

    package: str
    queue: str
    task_id: str | None = None
    """Queued twice under the same id, it is queued once, where the broker can tell."""

    delay: float = 0
    """Seconds before which nobody gets it."""

    priority: int = 0
    """From -100 to 100; those with a higher one are handed out first."""


Stream = AbstractContextManager[Callable[[Sequence[Consignment]], None]]
"""Gives what sends packages of one queue; when it ends, they are queued."""


class Broker:
    """Carries sealed packages. Knows nothing of what is inside.

    A useful broker implements enqueue, dequeue, queue_size, purge_queue, delete_queue,
    ping and info. One that hands out receipts also implements acknowledge, fail,
    delete and lock_size and sets `supports_receipts`. One that can keep a lease alive
    sets `supports_leases` and implements the verbs from `enlist` on; where the server can
    prolong a delivery and no more, `supports_renewal`, with renew and release.

    The verbs of this class do nothing, so that subclasses may call `super()` in each.
    """

    supports_receipts = False
    """A package that was not acknowledged comes back."""

    supports_leases = False
    """Leases are renewed, counted, given back and rescued."""

    supports_renewal = False
    """Leases are renewed and given back; the server frees those that run out."""

    supports_delay = False
    """A package may wait for a time before it is handed out."""

    supports_ids = False
    """A package that is queued twice under the same task id is queued once."""

    supports_once = False
    """`enqueue(…, once=True)` knows the id for a week more, also when its task has ended."""

    supports_bulk = False
    """Many packages travel in one go, to the queue and from it."""

    supports_priority = False
    """Of the packages that wait, those with a higher priority are handed out first."""

    supports_cancel = False
    """A task that waits is taken off the queue by its id."""

    supports_peek = False
    """Packages that wait can be looked at where they are."""

    supports_pause = False
    """A queue can be paused for all who ask it for packages."""

    rescued_at_once: ClassVar[int] = 500
    """After so many, `rescue` leaves the rest to its next call: a hundred clusters may
    have died, and nobody else is served meanwhile.
    """

    supports_news = False
    """`news_fd` tells of a package that arrives; no need to ask for it."""

    supports_atomic = False
    """A package can be locked and acknowledged inside a transaction on `database`."""

    database: str | None = None
    """Alias of the Django database that holds the queue, where one does."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        verbs.fit(cls, Broker)

    def __init__(self, list_key: str | None = None) -> None:
        self.list_key = list_key or get_options().queue
        self.connection = self.get_connection(self.list_key)
        self.cache = self.get_cache()
        self._info: str | None = None

    def __getstate__(self) -> tuple[str, str | None]:
        return self.list_key, self._info

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        self.list_key, self._info = state
        self.connection = self.get_connection(self.list_key)
        self.cache = self.get_cache()

    @property
    def short_key(self) -> str:
        """Name of the queue, as settings and clusters call it: `list_key` without what
        the broker adds.
        """
        return self.list_key

    @property
    def can_renew(self) -> bool:
        """Whether a package stays with its cluster however long its task takes."""
        return self.supports_leases or self.supports_renewal

    @property
    def lease_length(self) -> float:
        """Seconds for which a cluster leases at a time what it takes."""
        return get_options().lease

    # -- producing and consuming

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
    ) -> Any:
        """Put a package on the queue; durable when this returns. Gives its id there.

        Nobody gets it for `delay` seconds, and those with a higher `priority` (from -100
        to 100) come first, where the broker supports that.
        """

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        """Put packages on their queues, all in one go where the broker can."""
        brokers = {self.short_key: self}
        for package, queue, task_id, delay, priority in consignments:
            if queue not in brokers:
                brokers[queue] = type(self)(list_key=queue)
            verbs.enqueue(brokers[queue], package, task_id, delay, priority)

    def stream_opener(self) -> Callable[[], Stream] | None:
        """Opens what sends packages without waiting for each answer; see enqueue_all."""
        return None

    def dequeue(self, count: int | None = None) -> list[Delivery] | None:
        """Take up to `count` packages (None: as many as `bulk` says); may wait a little."""

    def acknowledge(self, receipt: str) -> Any:
        """The task is done: remove it. Doing so twice is harmless."""

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        """Acknowledge all; gives those that were still ours."""
        return {each for each in receipts if self.acknowledge(each) is not False}

    def fail(self, receipt: str) -> Any:
        """The package can't be used: remove it."""

    def delete(self, receipt: str) -> Any:
        """Remove a package."""

    def cancel(self, task_id: str) -> bool:
        """Take the task that was queued under this id off the queue, if it waits there.

        False: it does not. Perhaps a cluster has it, or it is done.
        """
        return False

    def peek(self, count: int = 10) -> list[str]:
        """Up to `count` packages, next first, of those that could be handed out now; they
        stay where they are.
        """
        return []

    # -- the queue as a whole

    def queue_size(self) -> int:
        """Packages that wait."""
        return 0

    def lock_size(self) -> int:
        """Packages that were handed out and not yet acknowledged."""
        return 0

    def purge_queue(self) -> Any:
        """Remove all packages."""

    def delete_queue(self) -> Any:
        """Remove the queue with all its packages."""

    def pause(self) -> None:
        """Hand out nothing more, to nobody, until `resume`. Packages may still arrive,
        and what was handed out goes on. Doing so twice is harmless.
        """

    def resume(self) -> None:
        """Hand packages out again."""

    def is_paused(self) -> bool:
        """Whether the queue is paused."""
        return False

    def ping(self) -> bool:
        """Whether the broker answers; raises what the connection raises."""
        return True

    def info(self) -> str:
        """What this broker is, in a few words."""
        return self._info or type(self).__name__

    def cautions(self) -> list[str]:
        """What about the server puts the queue at risk, in a sentence each; asked once,
        when a cluster starts.
        """
        return []

    # -- leases: what a cluster holds is its own until the lease runs out

    def enlist(self, cluster: str, lease: float) -> None:
        """Dequeue for this cluster (32 hexadecimal digits) from now on: what it takes is
        leased for `lease` seconds by the broker's clock.
        """

    def renew(self, receipts: Sequence[str]) -> set[str]:
        """Begin the leases of these anew; gives those that are still ours."""
        return set(receipts)

    def held(self) -> list[Delivery]:
        """Everything that is leased to this cluster."""
        return []

    def settle(self, receipts: Sequence[str]) -> None:
        """Another process of this cluster has acknowledged these, as far as it could:
        whoever renewed them may know more than what the receipt says. Does not raise.
        """

    def lock(self, receipt: str) -> bool:
        """Keep everybody else from this package until the caller's transaction ends.

        False: it is no longer ours. Never waits: raises PackageLocked where another
        transaction has locked it.
        """
        return True

    def has(self, receipt: str) -> bool:
        """Whether the package is there, whoever holds it. Only where `lock` locks."""
        return True

    def redeliver(self, receipt: str) -> Delivery | None:
        """Count a start that ended with its worker, and hand the package out again.

        The new delivery has a receipt of its own. None: the lease was lost, forget it.
        """
        return None

    def mark_started(self, receipts: Sequence[str]) -> None:
        """Count a start of each before it happens: it was handed out before."""

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        """Give back; others may take them after `delay` seconds.

        `failed` counts an attempt. Gives those that were still ours.
        """
        return set(receipts)

    def rescue(self) -> list[str]:
        """Free what other clusters of this queue held whose lease ran out.

        Gives one text for each rescued package, naming it and its cluster. Rescues
        nothing until it has reached the broker without a gap for a whole lease: after
        an outage, the first to come back would rob all the others. Call it often, and
        again at once when it gave `rescued_at_once` or more.
        """
        return []

    def rescue_from(self, cluster: str) -> list[str]:
        """Free at once what this cluster of this queue held: it is dead for certain.

        Gives the texts that `rescue` would give. Call it until there are none.
        """
        return []

    # -- waking up

    def news_fd(self) -> int | None:
        """A descriptor that becomes readable when a package may have arrived; None where
        there is none. Ask each time: another one follows a lost connection.
        """
        return None

    def has_news(self) -> bool:
        """Whether a package may have arrived since the last call; cheap."""
        return True

    def may_miss(self) -> bool:
        """Whether a package may be there without there having been news of it."""
        return True

    def pulse(self) -> float:
        """Seconds between two calls of has_news while nothing happens."""
        return get_options().poll

    def next_due(self) -> float | None:
        """Seconds until a package that waits for its time is due; None: there is none."""
        return None

    def close(self) -> None:
        """Close the connections of its own; the next verb opens them anew."""

    def before_fork(self) -> None:
        """This process is about to fork: close all, and let no thread run on."""
        self.close()

    # -- vital signs of clusters

    def set_stat(self, key: str, value: str, timeout: float = 3) -> Any:
        """Keep the vital signs of a cluster for `timeout` seconds."""
        stats.set_stat(self.cache, key, value, timeout)

    def get_stat(self, key: str) -> str | None:
        """The vital signs under this key, if they are not too old."""
        return stats.get_stat(self.cache, key)

    def get_stats(self, pattern: str) -> list[str] | None:
        """The vital signs of all clusters; None when nothing can be known."""
        return stats.get_stats(self.cache, pattern)

    # -- connections, overridden by subclasses

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """A connection to the broker; made anew in every process."""
        return None

    @staticmethod
    def get_cache() -> Any:
        """The Django cache of the setting `cache`; None if there is none."""
        return stats.find_cache(get_options().cache)
