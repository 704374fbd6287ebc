"""Stat, Status: the vital signs of a cluster, published and read."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypedDict, Unpack
from uuid import UUID

from django.core.cache import BaseCache
from django.utils.functional import Promise
from django.utils.translation import override

from django_q.brokers import Broker, get_broker, signboard
from django_q.brokers.signboard import Gap
from django_q.clock import now
from django_q.conf import Conf, get_options
from django_q.logs import clean, logger
from django_q.signing import BadSignature, SignedPackage

__all__ = ["Stat", "Status", "Vitals"]

LIFETIME: Final = 3
"""Seconds after which vital signs that are not renewed are forgotten."""

STATES: Final = {
    "Starting": Conf.STARTING,
    "Working": Conf.WORKING,
    "Idle": Conf.IDLE,
    "Stopped": Conf.STOPPED,
    "Stopping": Conf.STOPPING,
}
"""The words for a cluster's state, and the translated words that `Stat` carries."""

UNREADABLE: Final = (BadSignature, pickle.UnpicklingError, AttributeError, ImportError)
"""Forged, or written by a release whose vital signs hold something we don't have."""


class Vitals(TypedDict, total=False):
    """What a cluster may say of itself beside its id and its pid."""

    host: str
    status: str | Promise
    tob: datetime | None
    sentinel: int
    monitor: int
    pusher: int
    housekeeper: int
    workers: Sequence[int]
    task_q_size: int
    task_q_limit: int | None
    done_q_size: int
    reincarnations: int
    busy: int | None
    name: str | None
    queue: str | None
    version: str | None


class Status:
    """What is known of a cluster; on its own, of one that has stopped.

    Its attributes are plain values: pickled by older and newer releases alike.
    """

    # Vital signs written by an older release lack these, so they live in the class.
    housekeeper: int = 0

    task_q_limit: int | None = None
    """Tasks that the cluster holds at most, waiting for a worker."""

    busy: int | None = None
    """Workers that run a task; None: not told."""

    name: str | None = None
    """Name of the site."""

    queue: str | None = None
    """The queue that the cluster serves."""

    version: str | None = None
    """Release of django_q that the cluster runs."""

    def __init__(self, pid: int, cluster_id: UUID | str) -> None:
        self.pid = pid
        self.cluster_id = cluster_id
        self.host = socket.gethostname()
        self.status: str | Promise = Conf.STOPPED
        self.tob: datetime | None = None
        self.timestamp = now()
        self.sentinel = 0
        self.monitor = 0
        self.pusher = 0
        self.workers: list[int] = []
        self.task_q_size = 0
        self.done_q_size = 0
        self.reincarnations = 0

    @property
    def title(self) -> str:
        """How people call the cluster: `shop-orion-31781`."""
        return f"{self.name or get_options().name}-{self.host}-{self.pid}"

    @property
    def state(self) -> str:
        """The state as one lower-case English word, whatever language is active."""
        with override(None):
            return str(self.status).lower()

    def uptime(self) -> float:
        """Seconds since the cluster was started."""
        return (now() - self.tob).total_seconds() if self.tob else 0.0

    def empty_queues(self) -> bool:
        """Whether no task waits for a worker and no result for being saved."""
        return not self.task_q_size and not self.done_q_size


class Stat(Status):
    """The vital signs of a living cluster.

    Made from a sentinel, or from values by `Stat.of`. Holds no process, queue or
    broker.
    """

    def __init__(self, sentinel: Any) -> None:
        super().__init__(getattr(sentinel, "parent_pid", 0), sentinel.cluster_id)
        self.update(
            status=sentinel.status(),
            tob=getattr(sentinel, "tob", None),
            sentinel=getattr(sentinel, "pid", 0),
            monitor=_pid_of(sentinel, "monitor"),
            pusher=_pid_of(sentinel, "pusher"),
            workers=[worker.pid for worker in sentinel.pool],
            task_q_size=_size_of(sentinel, "task_queue"),
            done_q_size=_size_of(sentinel, "result_queue"),
            reincarnations=sentinel.reincarnations,
        )

    @classmethod
    def of(cls, *, cluster_id: UUID | str, pid: int, **vitals: Unpack[Vitals]) -> Stat:
        """Vital signs from values. What is not given is zero, empty or not told."""
        stat = cls.__new__(cls)
        Status.__init__(stat, pid, UUID(str(cluster_id)))
        stat.update(**vitals)
        return stat

    def update(self, **vitals: Unpack[Vitals]) -> None:
        """Set vital signs; the time of the last sign becomes this moment."""
        for name, value in vitals.items():
            setattr(self, name, value)
        self.workers = list(self.workers)
        self.status = _state(self.status)
        self.timestamp = now()

    @property
    def key(self) -> str:
        """Where the broker keeps these vital signs."""
        return self.get_key(self.cluster_id)

    @staticmethod
    def get_key(cluster_id: UUID | str) -> str:
        """Where the broker keeps the vital signs of a cluster."""
        return f"{get_options().stat_prefix}:{cluster_id}"

    def save(self, broker: Broker | None = None) -> None:
        """Publish, for earlier releases too. Raises what broker and cache raise."""
        broker = broker or get_broker()
        self.publish(broker, LIFETIME)
        self.repeat(broker.get_cache(), LIFETIME)

    def publish(self, broker: Broker, seconds: float) -> None:
        """Let everybody see it for so long. Raises what the broker raises."""
        signboard.post(broker, self.key, self._sealed(), seconds)

    def repeat(self, cache: BaseCache | None, seconds: float) -> None:
        """Let earlier releases see it, where a cache is shared with them."""
        signboard.repeat(cache, self.key, self._sealed(), seconds)

    @staticmethod
    def get(
        pid: int, cluster_id: UUID | str, broker: Broker | None = None
    ) -> Status | None:
        """A cluster's Stat; a stopped Status if it is unknown; None if it was forged.

        Without a broker, every broker of the settings is asked.
        """
        key = Stat.get_key(cluster_id)
        if broker is None:
            found = signboard.ask_everywhere(lambda each: [signboard.look(each, key)])
            package = next(iter(found.found), None)
        else:
            package = signboard.look(broker, key)
        return _opened(package) if package else Status(pid, cluster_id)

    @staticmethod
    def get_all(broker: Broker | None = None) -> list[Stat]:
        """The vital signs of all living clusters of this site; with a broker, of those
        that post theirs there.

        Where the settings name several brokers, one that can't be asked is a line in
        the log. Raises what a broker raises when there is no other.
        """
        stats, gaps = survey(broker)
        for gap in gaps:
            queues = clean(", ".join(gap.queues))
            text = "clusters of the queues %s are not known: %s"
            logger.warning(text, queues, clean(gap.error))
        return stats

    def _sealed(self) -> str:
        return SignedPackage.dumps(self, True)


class Survey(NamedTuple):
    """What is known of the clusters of this site."""

    stats: list[Stat]
    gaps: list[Gap]


def survey(broker: Broker | None = None) -> Survey:
    """All living clusters, and the brokers that can't be asked about theirs.

    Raises what they raise when that is all of them.
    """
    pattern = Stat.get_key("*")
    if broker is None:
        view = signboard.ask_everywhere(lambda each: signboard.look_all(each, pattern))
        packages, gaps = view
    else:
        packages, gaps = signboard.look_all(broker, pattern), []
    found: dict[UUID | str, Stat] = {}
    for stat in map(_opened, packages):
        if isinstance(stat, Stat):
            found.setdefault(stat.cluster_id, stat)
    return Survey(list(found.values()), gaps)


def _opened(package: str) -> Stat | None:
    """What a package holds; None when this site did not sign it, or can't read it."""
    try:
        stat: Stat = SignedPackage.loads(package)
    except UNREADABLE:
        return None
    return stat


def _state(status: str | Promise) -> str | Promise:
    """The translated word for a state that was given in plain English."""
    return STATES.get(status, status) if isinstance(status, str) else status


def _pid_of(sentinel: Any, role: str) -> int:
    return getattr(getattr(sentinel, role, None), "pid", None) or 0


def _size_of(sentinel: Any, queue: str) -> int:
    line = getattr(sentinel, queue, None)
    return line.qsize() if line is not None else 0
