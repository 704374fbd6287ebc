"""Options: every setting of Q_CLUSTER, typed, with its default and its meaning."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import unquote

LEASE_LIMIT: Final = 30.0
"""Seconds: no lease is longer, so that a dead host's tasks run again soon."""

MOST_THREADS: Final = 64
"""In one worker: they share one interpreter, and each has its own database connections."""

PLACE: Final = (
    "broker_class",
    "iron_mq",
    "sqs",
    "orm",
    "mongo",
    "mongo_db",
    "redis",
    "django_redis",
    "disque_nodes",
    "disque_auth",
    "disque_fastack",
    "cache",
)
"""Settings that choose the broker, and the place of what it does not keep itself."""

NEGATIVE_IS_MEANT: Final = frozenset({"save_limit", "recycle"})
"""Settings that have a meaning below zero: keep no success, never recycle."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything Q_CLUSTER can say. Durations are seconds unless the name says more.

    Settings that may hold passwords are left out of the repr: tracebacks travel far.
    """

    name: str = "default"
    """Name of the site: salt of the signatures, prefix of the vital signs."""

    cluster_name: str | None = None
    """Name of this cluster and of the queue it serves; None: the same as `name`."""

    workers: int | None = None
    """Worker processes; None or 0: one for each processor."""

    concurrency: int = 1
    """Tasks that each worker runs at once: coroutines on an event loop, others in threads."""

    daemonize_workers: bool = True
    """False lets tasks start child processes of their own through multiprocessing."""

    recycle: int = 500
    """A worker is replaced after so many tasks; 0 or less: never."""

    max_rss: int | None = None
    """A worker is replaced once its resident memory reaches so many kilobytes."""

    timeout: float | None = None
    """How long a task may run, fractions allowed; None: for ever."""

    timeout_grace: float = 5.0
    """After the timeout, a task that does not end in so long is killed."""

    stop_timeout: float | None = None
    """How long a stopping cluster waits for running tasks; None: until they end."""

    retry: float = 60
    """How long a broker waits for a silent cluster before another one takes over."""

    max_attempts: int | None = None
    """Runs a failing task gets; None: 1, or no limit with `ack_failures: False`."""

    retry_delay: float = 1.0
    """Upper bound of the pause before the second attempt; doubles for each next one."""

    retry_delay_max: float = 600.0
    """No pause between two attempts is longer."""

    max_deliveries: int = 3
    """A task whose worker died so many times ends as a failure."""

    ack_failures: bool | None = None
    """False, without `max_attempts`: failing tasks are repeated for ever."""

    compress: bool = False
    """Compress packages before they are signed."""

    max_package_size: int = 10 * 1024 * 1024
    """Bytes that a package may have, packed or unpacked, when it is sent or read."""

    max_result_size: int = 100 * 1024 * 1024
    """Bytes that a result may have in its row; a larger one makes a failure of its task."""

    max_task_age: float | None = None
    """Seconds since it was queued, after which a task is not run; None: any age."""

    skip_completed: bool = False
    """True: every task is looked up before it runs; one that has succeeded does not."""

    save_limit: int = 250
    """Successes that are kept; 0: all, negative: none. Failures are always kept."""

    save_limit_per: str | None = None
    """"group", "name" or "func": the limit counts for each of its values."""

    guard_cycle: float = 0.5
    """The longest pause of the sentinel between two looks at its processes."""

    scheduler: bool = True
    """False: this cluster runs no schedules."""

    sync: bool = False
    """True: async_task runs the task at once in the calling process."""

    send_on_commit: bool = True
    """False: a broker outside the database gets tasks at once, not at the commit."""

    outbox: bool = False
    """True: tasks for a broker outside the database wait in a table until it has them."""

    atomic: bool = False
    """True: tasks run in one transaction with their results and their end."""

    queue_limit: int | None = None
    """Packages held at once, at most; 0, None: enough for a fraction of a second."""

    bulk: int | None = None
    """Packages asked of the broker at once; None: as many as there is room for."""

    poll: float = 0.2
    """Pause between two looks into a queue that can't call the cluster."""

    label: str = "Django Q"
    """Name of the app in the admin."""

    catch_up: bool = True
    """False: after a downtime a schedule runs once instead of once for each slot."""

    allowed_functions: list[str] | None = None
    """Functions that tasks, hooks and schedules may name; None: all."""

    cpu_affinity: int = 0
    """Processors that each worker may use; 0: all."""

    log_level: str = "INFO"
    """Level of the console log of qcluster."""

    cache: str = "default"
    """Cache for cached results, and for vital signs that have no other place."""

    cached: bool | int = False
    """Keep results in the cache, not the database: True, or seconds until expiry."""

    time_zone: str | None = None
    """Zone of cron and calendar schedules; None: TIME_ZONE of the project."""

    error_reporter: dict[str, Any] = field(default_factory=dict, repr=False)
    """Name of an error reporter's entry point -> its keyword arguments."""

    start_method: str | None = None
    """How processes start: "fork", "forkserver" or "spawn"; None: the best here."""

    preload: list[str] = field(default_factory=list)
    """Modules that are imported before workers are forked, which then share them."""

    testing: bool = False
    """Show queued tasks in the admin without the ORM broker; bind no processors."""

    broker_class: str | None = None
    """Dotted path of a broker of your own; wins over the settings below."""

    iron_mq: dict[str, Any] | None = field(default=None, repr=False)
    """Connection of the IronMQ broker."""

    sqs: dict[str, Any] | None = field(default=None, repr=False)
    """Connection of the Amazon SQS broker; an empty dict selects it too."""

    orm: str | None = None
    """Alias of the database that holds the queue."""

    mongo: dict[str, Any] | None = field(default=None, repr=False)
    """Connection of the MongoDB broker."""

    mongo_db: str | None = None
    """Database of the MongoDB broker."""

    redis: dict[str, Any] | str | None = field(default=None, repr=False)
    """Connection of the Redis broker: keywords or a URL. (A client is made ready.)"""

    django_redis: str | None = None
    """Alias of a django-redis cache whose connections the Redis broker uses."""

    disque_nodes: list[str] | None = None
    """Addresses `host:port` of the Disque broker."""

    disque_auth: str | None = field(default=None, repr=False)
    """Password of the Disque broker."""

    disque_fastack: bool = False
    """Acknowledge to Disque without waiting for its other nodes."""

    @cached_property
    def queue(self) -> str:
        """The queue that this process serves and puts its tasks on."""
        return self.cluster_name or self.name

    @property
    def worker_count(self) -> int:
        """Size of the pool, never 0."""
        return self.workers or count_processors()

    @property
    def thread_count(self) -> int:
        """Threads in which a worker runs what is no coroutine, at most."""
        return min(self.concurrency, MOST_THREADS)

    @property
    def lease(self) -> float:
        """Length of the lease that a living cluster keeps renewing."""
        return max(1.0, min(self.retry or LEASE_LIMIT, LEASE_LIMIT))

    @property
    def mongo_database(self) -> str:
        """Database of the MongoDB broker: the one named, else that of the URI."""
        return self.mongo_db or _database_in(self.mongo or {}) or "django-q"

    @property
    def place(self) -> tuple[Any, ...]:
        """Where the queue is, and vital signs are posted: comparable, no more."""
        return tuple(getattr(self, name) for name in PLACE)

    @cached_property
    def keeps_successes(self) -> bool:
        return self.save_limit >= 0

    @property
    def stat_prefix(self) -> str:
        """First part of the keys of all clusters' vital signs."""
        return f"django_q:{self.name}:cluster"


def _database_in(mongo: Any) -> str:
    """What stands in the first URI between the hosts and the query."""
    host = mongo.get("host") or "" if isinstance(mongo, dict) else ""
    uri = host if isinstance(host, str) else str([*host, ""][0])
    _scheme, separator, rest = uri.partition("://")
    path = rest.partition("?")[0].partition("/")[2] if separator else ""
    return unquote(path).partition(".")[0]


def count_processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 4
