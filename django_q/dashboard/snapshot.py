"""Every figure that any screen shows, collected in one go; and the feed of a screen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from django.db import DatabaseError, close_old_connections, connections
from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Min, Q

from django_q import outbox
from django_q.brokers import Broker
from django_q.clock import now
from django_q.conf import get_options
from django_q.dashboard.carriers import (
    Carrier,
    carrier_of,
    carriers,
    count,
    running_clusters,
)
from django_q.exceptions import BrokerError
from django_q.models import Schedule, Task
from django_q.status import Stat

Taken = TypeVar("Taken")

NO_ANSWER: Final = (BrokerError, DatabaseError, OSError)
"""What a broker or a database raises that can't be reached."""

REST: Final = 4
"""A feed rests so many times as long as its last snapshot took, to load nobody."""


@dataclass(frozen=True, kw_only=True)
class QueueFigures:
    """One queue."""

    name: str
    waiting: int | None
    """Due, on the broker; None: that does not answer."""

    locked: int | None
    """Delayed, or handed out and not yet acknowledged."""

    clusters: tuple[Stat, ...]
    """The clusters that serve it."""

    broker: str = ""
    """Where it is."""


@dataclass(frozen=True, kw_only=True)
class TaskFigures:
    """What became of tasks."""

    successes: int
    """Successes that are stored."""

    failures: int
    """Failures that are stored."""

    succeeded_24h: int
    failed_24h: int
    last_minute: int
    """Tasks that ended in the last 60 seconds."""

    average: timedelta | None
    """From being queued to being done, over the successes of 24 hours."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The figures of one moment."""

    at: datetime
    name: str
    broker: str
    broker_kind: str
    latency: float | None
    """Seconds that the broker took to answer; None: it does not."""

    clusters: tuple[Stat, ...]
    queues: tuple[QueueFigures, ...]
    tasks: TaskFigures
    schedules: int
    next_run: datetime | None
    outbox: int = 0
    """Tasks that are not sent to their broker yet."""

    refused: int = 0
    """Those among them that it did not take."""

    silent: tuple[Carrier, ...] = ()
    """Brokers of this site that do not answer, while another one does."""

    @property
    def workers(self) -> int:
        return sum(len(stat.workers) for stat in self.clusters)

    @property
    def restarts(self) -> int:
        return sum(stat.reincarnations for stat in self.clusters)

    @property
    def running(self) -> int | None:
        """Tasks that run now; None when a cluster does not tell."""
        busy = [stat.busy for stat in self.clusters]
        return None if None in busy else sum(filter(None, busy))

    @property
    def waiting(self) -> int:
        return sum(queue.waiting or 0 for queue in self.queues)

    @property
    def locked(self) -> int:
        return sum(queue.locked or 0 for queue in self.queues)

    @property
    def unserved(self) -> list[QueueFigures]:
        """Queues that no cluster serves; none while a cluster does not tell its queue."""
        if any(stat.queue is None for stat in self.clusters):
            return []
        known = [queue for queue in self.queues if queue.waiting is not None]
        return [queue for queue in known if not queue.clusters]


def take_snapshot(broker: Broker | None = None) -> Snapshot:
    """Collect every figure now; without a broker, of all that the settings name.

    Raises one of NO_ANSWER where nothing can be known.
    """
    options = get_options()
    own = broker.short_key if broker else options.queue
    with carriers(broker) as asked:
        clusters = running_clusters(broker)
        queues = tuple(_queues(asked, own, clusters))
    first = asked[0]
    going_on = Min("next_run", filter=~Q(repeats=0))
    schedules = Schedule.objects.aggregate(count=Count("pk"), next=going_on)
    waiting, refused = outbox.count()
    return Snapshot(
        at=now(),
        name=options.name,
        broker=first.info,
        broker_kind=first.kind,
        latency=first.latency,
        silent=tuple(carrier for carrier in asked if carrier.error is not None),
        clusters=tuple(clusters),
        queues=queues,
        tasks=_tasks(now()),
        schedules=schedules["count"],
        next_run=schedules["next"],
        outbox=waiting,
        refused=refused,
    )


def _queues(
    asked: Sequence[Carrier], own: str, clusters: Sequence[Stat]
) -> Iterator[QueueFigures]:
    """This process's own queue, those that a running cluster serves, and of those that
    the settings name the ones that hold something.
    """
    served = {stat.queue for stat in clusters if stat.queue}
    named = {name for carrier in asked for name in carrier.queues}
    for name in sorted({own} | served | named):
        carrier = carrier_of(name, asked)
        sizes = count(name, carrier)
        if name != own and name not in served and sizes == (0, 0):
            continue
        waiting, locked = sizes or (None, None)
        yield QueueFigures(
            name=name,
            waiting=waiting,
            locked=locked,
            broker=carrier.info,
            clusters=tuple(stat for stat in clusters if stat.queue == name),
        )


def _tasks(at: datetime) -> TaskFigures:
    lately = Q(stopped__gte=at - timedelta(days=1))
    good, bad = Q(success=True), Q(success=False)
    took = ExpressionWrapper(F("stopped") - F("started"), DurationField())
    stored: dict[str, Any] = Task.objects.aggregate(
        successes=Count("pk", filter=good), failures=Count("pk", filter=bad)
    )
    recent: dict[str, Any] = Task.objects.filter(lately).aggregate(
        succeeded_24h=Count("pk", filter=good),
        failed_24h=Count("pk", filter=bad),
        last_minute=Count("pk", filter=Q(stopped__gte=at - timedelta(minutes=1))),
        average=Avg(took, filter=good),
    )
    return TaskFigures(**stored, **recent)


class Feed(Generic[Taken]):
    """Takes snapshots in a thread of its own, so that a screen never waits for one.

    A context manager. `latest` is the last snapshot, `problem` why there is none newer.
    """

    def __init__(self, take: Callable[[], Taken], *, interval: float = 1.0) -> None:
        self.latest: Taken | None = None
        self.problem: Exception | None = None
        self.answered = monotonic()
        self._take = take
        self._interval = interval
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)

    def __enter__(self) -> Feed[Taken]:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._closed.set()
        # A database that hangs must not keep the person who leaves waiting.
        self._thread.join(timeout=1)

    @property
    def silence(self) -> float:
        """Seconds since the broker and the database last answered."""
        return monotonic() - self.answered

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                asked = monotonic()
                self._refresh()
                self._closed.wait(max(self._interval, REST * (monotonic() - asked)))
        finally:
            connections.close_all()

    def _refresh(self) -> None:
        close_old_connections()
        try:
            self.latest = self._take()
        except Exception as error:  # noqa: BLE001 - shown on the screen, and tried again
            self.problem = error
            return
        self.problem = None
        self.answered = monotonic()
