"""ORM: the database is the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from time import sleep
from typing import Any, TypeVar

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from django_q import clock, humanhash
from django_q.brokers.advice import odd_name
from django_q.brokers.base import Broker, Consignment, Delivery, Stream
from django_q.brokers.contact import Contact
from django_q.brokers.dialect import SQL
from django_q.brokers.mishaps import attempt
from django_q.brokers.news import News, can_call, open_news
from django_q.brokers.pauses import Pauses
from django_q.brokers.postgres_pipeline import opener
from django_q.brokers.postgres_table import channel_of
from django_q.brokers.signs import Signs
from django_q.brokers.table import Change, Row, Table
from django_q.brokers.tables import open_table
from django_q.brokers.trail import Trail
from django_q.conf import get_options
from django_q.exceptions import BrokerUnavailable, UnknownReceipt
from django_q.models import OrmQ
from django_q.transactions import freshen

Value = TypeVar("Value")


def open_queue(list_key: str | None = None) -> QuerySet[OrmQ]:
    """The table, on a connection that is not stale; asked for by every verb."""
    return QuerySet(OrmQ, using=_fresh_connection().alias)


class ORM(Broker):
    """Carries packages in the table OrmQ of the database that the setting `orm` names.

    `enqueue` joins the caller's transaction. What is taken is leased by the database's
    clock; the receipt names the row and its delivery, and with the cluster's id it is
    the token that every later verb must show. Order: by priority, then by the moment a
    package is due, then by id.
    """

    supports_receipts = True
    supports_leases = True
    supports_delay = True
    supports_ids = True
    supports_bulk = True
    supports_priority = True
    supports_cancel = True
    supports_peek = True
    supports_pause = True
    supports_news = True
    supports_atomic = True

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._prepare()

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        super().__setstate__(state)
        self._prepare()

    def _prepare(self) -> None:
        self.database: str = _alias_of(self.connection)
        self.supports_news = can_call(connections[self.database])
        check_key(self.list_key, self.database)
        self._holder: str | None = None
        self._lease = float(get_options().retry)
        self._contact = Contact(self._lease)
        self._news: News | None = None
        self._trail = Trail()

    get_connection = staticmethod(open_queue)

    # -- producing and consuming

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
    ) -> int:
        new = Consignment(package, self.list_key, task_id, delay, priority)
        return self._use(lambda table: table.insert(new), twice=task_id is not None)

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        if consignments:
            named = all(consignment.task_id for consignment in consignments)
            self._use(lambda table: table.insert_many(consignments), twice=named)

    def stream_opener(self) -> Callable[[], Stream] | None:
        return self._use(opener, twice=True)

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        rows = self._claim(count or get_options().bulk or 1)
        if not rows and self._holder is None:
            # Whoever asks for one cluster's turn after another's is not called.
            sleep(get_options().poll)
        return [deliver(row) for row in rows]

    def timeout(self, row: OrmQ) -> datetime:
        """Until when a row is leased to whoever takes it; subclasses may override."""
        return clock.now() + timedelta(seconds=self._lease)

    def acknowledge(self, receipt: str) -> bool:
        if ":" not in str(receipt):
            # The id that enqueue gave, as the earlier releases took it.
            return bool(self._remove(lambda table: table.ids([int(receipt)])))
        return bool(ORM.acknowledge_many(self, [receipt]))

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        if not receipts:
            return set()
        pairs = [parse(receipt) for receipt in receipts]
        return names(self._remove(lambda table: table.ours(pairs)))

    fail = delete = acknowledge

    def cancel(self, task_id: str) -> bool:
        """A package that nobody holds by name, as clusters of an earlier release and
        callers who are no cluster don't, waits as far as can be seen.
        """
        return bool(self._remove(lambda table: table.waiting(task_id)))

    def peek(self, count: int = 10) -> list[str]:
        is_nobody = self._holder is None
        return self._use(lambda table: table.peek(count, all_lapsed=is_nobody))

    # -- the queue as a whole

    def queue_size(self) -> int:
        return self._count("<=")

    def lock_size(self) -> int:
        return self._count(">")

    def purge_queue(self) -> None:
        self._use(lambda table: table.purge(), twice=True)

    delete_queue = purge_queue

    def pause(self) -> None:
        self._use(lambda table: Pauses(table).pause(), twice=True)

    def resume(self) -> None:
        self._use(lambda table: Pauses(table).resume(), twice=True)

    def is_paused(self) -> bool:
        return self._use(lambda table: Pauses(table).is_paused(), twice=True)

    def ping(self) -> bool:
        self._use(lambda table: table.fetch("SELECT 1", ()))
        return True

    def info(self) -> str:
        self._info = self._info or f"ORM {self.database}"
        return self._info

    # -- leases

    def enlist(self, cluster: str, lease: float) -> None:
        self._holder, self._lease = cluster, lease
        self._contact = Contact(lease)

    def renew(self, receipts: Sequence[str]) -> set[str]:
        if not receipts:
            return set()
        pairs = [parse(receipt) for receipt in receipts]
        return names(self._use(lambda table: table.renew(pairs, self._lease)))

    def held(self) -> list[Delivery]:
        return [deliver(row) for row in self._use(lambda table: table.held())]

    def lock(self, receipt: str) -> bool:
        return self._use(lambda table: table.lock([parse(receipt)]))

    def has(self, receipt: str) -> bool:
        row, _delivery = parse(receipt)
        return self._use(lambda table: bool(table.select("1", table.ids([row]))))

    def redeliver(self, receipt: str) -> Delivery | None:
        def start_again(table: Table) -> list[Row]:
            lock = table.moment(self._lease)
            counts = ("deliveries", "starts")
            change = Change(lock, counts=counts, reads_payload=True)
            return table.change(table.ours([parse(receipt)]), change)

        rows = self._use(start_again)
        return deliver(rows[0]) if rows else None

    def mark_started(self, receipts: Sequence[str]) -> None:
        self._change(receipts, lambda _table: Change(counts=("starts",)))

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        def give_back(table: Table) -> Change:
            waits = delay or failed
            # What goes back as it came goes to the head of the queue.
            lock = table.moment(delay) if waits else table.head()
            counts = ("attempts",) if failed else ()
            return Change(lock, frees=True, counts=counts, wakes=True)

        return self._change(receipts, give_back)

    def rescue(self) -> list[str]:
        most = self.rescued_at_once
        lapsed = self._use(lambda table: table.find_held(table.lapsed(), most))
        if not lapsed or not self._contact.is_steady:
            return []
        ids = [row for row, *_ in lapsed]
        freed = self._use(lambda table: table.free_held(ids, table.lapsed(), None))
        return texts_of(lapsed, freed)

    def rescue_from(self, cluster: str) -> list[str]:
        most = self.rescued_at_once
        held = self._use(lambda table: table.find_held(table.held_by(cluster), most))
        if not held:
            return []
        ids = [row for row, *_ in held]
        # Its leases have not run out: the rows go to the head of the queue.
        freed = self._use(
            lambda table: table.free_held(ids, table.held_by(cluster), table.head())
        )
        return texts_of(held, freed)

    # -- waking up

    def news_fd(self) -> int | None:
        return self._open_news().fd()

    def has_news(self) -> bool:
        return self._open_news().has_any()

    def may_miss(self) -> bool:
        # Mostly there is nothing, and to ask for that is one question instead of two.
        return self._open_news().may_miss and self._use(lambda table: table.has_any())

    def pulse(self) -> float:
        return self._open_news().pulse()

    def next_due(self) -> float | None:
        return self._use(lambda table: table.next_due())

    def close(self) -> None:
        if self._news is not None:
            self._news.close()
            self._news = None

    # -- vital signs

    def set_stat(self, key: str, value: str, timeout: float = 3) -> None:
        self._use(lambda table: Signs(table).write(key, value, timeout), twice=True)

    def get_stat(self, key: str) -> str | None:
        return self._use(lambda table: Signs(table).read(key), twice=True)

    def get_stats(self, pattern: str) -> list[str]:
        start = pattern.removesuffix("*")
        return self._use(lambda table: Signs(table).read_all(start), twice=True)

    # -- the table

    def _use(self, verb: Callable[[Table], Value], *, twice: bool = False) -> Value:
        """What a verb of the table gives; errors say what to do.

        `twice`: it may be done again when the connection was lost meanwhile.
        """
        connection = self._open()
        table = open_table(connection, self.list_key, self._holder)
        try:
            value = attempt(connection, lambda: verb(table), twice=twice)
        except BrokerUnavailable:
            self._contact.lose()
            raise
        self._contact.note()
        return value

    def _open(self) -> BaseDatabaseWrapper:
        """The database of the queue, on a connection that is not stale."""
        own = self.get_connection
        # A query set for nothing takes as long as all else before the statement.
        if own is open_queue:
            return _fresh_connection()
        return connections[_alias_of(own(self.list_key))]

    def _claim(self, count: int) -> list[Row]:
        is_nobody = self._holder is None

        def claim(table: Table) -> list[Row]:
            lock = table.moment(self._lease)
            change = Change(
                lock, self._holder, is_nobody, ("deliveries",), reads_payload=True
            )
            return table.claim(count, change, self._trail, all_lapsed=is_nobody)

        rows = sorted(self._use(claim), key=lambda row: (-row.priority, row.id))
        if type(self).timeout is not ORM.timeout:
            self._lease_as_told(rows)
        return rows

    def _lease_as_told(self, rows: Iterable[Row]) -> None:
        """A subclass has its own idea of how long it takes."""
        for row in rows:
            taken = self.get_connection(self.list_key).filter(
                pk=row.id, deliveries=row.deliveries
            )
            facts = OrmQ(id=row.id, key=self.list_key, payload=row.payload)
            taken.update(lock=self.timeout(facts))

    def _change(
        self, receipts: Sequence[str], change: Callable[[Table], Change]
    ) -> set[str]:
        """Change what is still ours, and give its receipts."""
        if not receipts:
            return set()
        pairs = [parse(receipt) for receipt in receipts]
        rows = self._use(lambda table: table.change(table.ours(pairs), change(table)))
        return names((row.id, row.deliveries) for row in rows)

    def _remove(self, where: Callable[[Table], SQL]) -> list[tuple[int, int]]:
        return self._use(lambda table: table.remove(where(table)))

    def _count(self, comparison: str) -> int:
        return self._use(lambda table: table.count(comparison))

    def _open_news(self) -> News:
        if self._news is None:
            channel = channel_of(self.list_key)
            poll = get_options().poll
            self._news = open_news(self.database, channel, poll)
        return self._news


def _fresh_connection() -> BaseDatabaseWrapper:
    connection: BaseDatabaseWrapper = connections[_alias_of(None)]
    freshen(connection)
    return connection


def _alias_of(connection: Any) -> str:
    """The database of a query set; of what else a subclass may have, that of the
    settings.
    """
    alias: str | None = getattr(connection, "db", None)
    return alias or get_options().orm or router.db_for_write(OrmQ)


def check_key(key: str, alias: str) -> None:
    """Raises ConfigurationError for a queue for which the table has no room."""
    longest = OrmQ._meta.get_field("key").max_length or 0  # noqa: SLF001 - public
    if "\0" in key:
        raise odd_name("Databases", key, "it has a zero byte")
    if len(key) > longest and connections[alias].vendor != "sqlite":
        reason = f"it has more than {longest} characters"
        raise odd_name(f"Database {alias!r}", key, reason)


def deliver(row: Row) -> Delivery:
    """A row as it is handed out."""
    receipt = f"{row.id}:{row.deliveries}"
    counts = (row.deliveries, row.starts, row.attempts, row.rescues)
    return Delivery(receipt, row.payload, *counts)


def texts_of(held: Iterable[tuple[int, str, str | None]], freed: set[int]) -> list[str]:
    """Of what clusters held, a line for each row that was freed."""
    return [
        f"task {task_id or f'of row {row}'} from {humanhash.humanize(holder)}"
        for row, holder, task_id in held
        if row in freed
    ]


def parse(receipt: str) -> tuple[int, int]:
    """Id and delivery that a receipt names."""
    row, _, delivery = receipt.partition(":")
    try:
        return int(row), int(delivery)
    except ValueError:
        message = f"{receipt!r} is no receipt of the ORM broker."
        raise UnknownReceipt(message) from None


def names(pairs: Iterable[tuple[int, int]]) -> set[str]:
    """The receipts of these rows and deliveries."""
    return {f"{row}:{delivery}" for row, delivery in pairs}
