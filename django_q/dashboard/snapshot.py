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

from django_q.brokers import Broker, get_broker
from django_q.clock import now
from django_q.conf import get_options
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
    waiting: int
    """Due, on the broker."""

    locked: int
    """Delayed, or handed out and not yet acknowledged."""

    clusters: tuple[Stat, ...]
    """The clusters that serve it."""


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
    latency: float
    """Seconds that the broker took to answer."""

    clusters: tuple[Stat, ...]
    queues: tuple[QueueFigures, ...]
    tasks: TaskFigures
    schedules: int
    next_run: datetime | None

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
        return sum(queue.waiting for queue in self.queues)

    @property
    def locked(self) -> int:
        return sum(queue.locked for queue in self.queues)

    @property
    def unserved(self) -> list[QueueFigures]:
        """Queues that no cluster serves; none while a cluster does not tell its queue."""
        if any(stat.queue is None for stat in self.clusters):
            return []
        return [queue for queue in self.queues if not queue.clusters]


def take_snapshot(broker: Broker | None = None) -> Snapshot:
    """Collect every figure now. Raises one of NO_ANSWER where nothing can be known."""
    options = get_options()
    chosen = broker or get_broker()
    queue = broker.short_key if broker else options.queue
    latency = ping(chosen)
    clusters = running_clusters(chosen)
    going_on = Min("next_run", filter=~Q(repeats=0))
    schedules = Schedule.objects.aggregate(count=Count("pk"), next=going_on)
    return Snapshot(
        at=now(),
        name=options.name,
        broker=chosen.info(),
        broker_kind=type(chosen).__name__.lower(),
        latency=latency,
        clusters=tuple(clusters),
        queues=tuple(_queues(chosen, queue, clusters)),
        tasks=_tasks(now()),
        schedules=schedules["count"],
        next_run=schedules["next"],
    )


def running_clusters(broker: Broker) -> list[Stat]:
    """The clusters in the order in which every screen shows them."""
    return sorted(Stat.get_all(broker), key=lambda stat: (stat.host, stat.pid))


def ping(broker: Broker) -> float:
    """Seconds until the broker answered; raises BrokerError if it doesn't."""
    asked = monotonic()
    if not broker.ping():
        message = f"The broker ({broker.info()}) doesn't answer."
        raise BrokerError(message)
    return monotonic() - asked


def _queues(
    broker: Broker, own: str, clusters: Sequence[Stat]
) -> Iterator[QueueFigures]:
    """The broker's own queue and those that a running cluster serves."""
    served = {stat.queue for stat in clusters if stat.queue}
    for name in sorted({own} | served):
        line = broker if name == own else get_broker(name)
        yield QueueFigures(
            name=name,
            # Brokers of older projects may answer None.
            waiting=line.queue_size() or 0,
            locked=line.lock_size() or 0,
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
