"""Table: the queue's rows in a database, and what all databases have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple

from django_q.brokers.base import Consignment
from django_q.brokers.dialect import SQL
from django_q.brokers.priorities import bounded
from django_q.brokers.ranks import Ranks
from django_q.brokers.trail import Trail
from django_q.exceptions import PackageLocked
from django_q.models import OrmQ
from django_q.models.columns import columns_meanwhile
from django_q.transactions import writing

COUNTS: Final = ("deliveries", "starts", "attempts", "rescues")
COLUMNS: Final = ("id", "payload", *COUNTS, "priority")

FACTS: Final[dict[str, Callable[[Consignment], Any]]] = {
    "key": attrgetter("queue"),
    "payload": attrgetter("package"),
    "task_id": attrgetter("task_id"),
    "priority": lambda new: bounded(new.priority),
}
"""What is known of a new row, by column."""

Pairs = Sequence[tuple[int, int]]
"""Ids of rows, each with the delivery that its receipt names."""


class Row(NamedTuple):
    """A row as it is after a change."""

    id: int
    payload: str
    deliveries: int
    starts: int
    attempts: int
    rescues: int
    priority: int


class Change(NamedTuple):
    """What happens to rows of the queue."""

    lock: SQL | None = None
    holder: str | None = None
    frees: bool = False
    """Nobody holds them any more."""

    counts: tuple[str, ...] = ()
    """Columns that grow by one."""

    wakes: bool = False
    """Whoever waits for packages is to look."""

    reads_payload: bool = False


class Table(Ranks):
    """The rows of one queue as one cluster sees them, or as nobody in particular does.

    This class itself reads and locks rows, then writes them, in one transaction: the
    way of databases that can't return what they update.
    """

    or_nothing = "ON CONFLICT DO NOTHING"
    """What an INSERT says of a row that is there."""

    @property
    def patient(self) -> bool:
        """A cluster's own processes leave room for everybody else's writes."""
        return self.holder is not None

    # -- conditions

    def waiting(self, task_id: str) -> SQL:
        """The row with this task id, if nobody holds it."""
        text = (
            f"{self.quoted('task_id')} = %s AND {self.quoted('key')} = %s"
            f" AND {self.quoted('holder')} IS NULL"
        )
        return SQL(text, (task_id, self.key))

    def ours(self, pairs: Pairs) -> SQL:
        """Rows that are still ours under these receipts: the fence of every lease."""
        by_delivery = defaultdict(list)
        for row, delivery in pairs:
            by_delivery[delivery].append(row)
        alternatives = []
        values: tuple[Any, ...] = ()
        for delivery, rows in by_delivery.items():
            ids = self.ids(rows)
            is_this = f"{self.quoted('deliveries')} = {int(delivery)}"
            alternatives.append(f"({ids.text} AND {is_this})")
            values += ids.values
        fence = f"({' OR '.join(alternatives)}) AND {self.quoted('holder')}"
        if self.holder is None:
            return SQL(f"{fence} IS NULL", values)
        return SQL(f"{fence} = %s", (*values, self.holder))

    # -- changes

    def change(self, where: SQL, change: Change) -> list[Row]:
        """Change the rows that meet a condition, and give them as they are then."""
        return self.lock_and_change([where], change)

    def change_unlocked(self, where: SQL, change: Change) -> list[Row]:
        """The same, without those that are locked."""
        return self.lock_and_change([where], change, skip_locked=True)

    def claim(
        self, count: int, change: Change, trail: Trail, *, all_lapsed: bool
    ) -> list[Row]:
        """Change the first rows that may be taken, skipping what others take now."""

        def free(rank: str) -> SQL:
            return self.free(rank, all_lapsed=all_lapsed) & self.unpaused()

        # An empty queue needs no transaction, and no lock.
        ranks = self.find_ranks(free, count)
        if not ranks:
            return []
        return self.claim_first([free(str(rank)) for rank in ranks], count, change)

    def claim_first(self, free: Sequence[SQL], count: int, change: Change) -> list[Row]:
        """Claim rows that meet the first of these conditions, then the next one."""
        return self.lock_and_change(free, change, count, skip_locked=True)

    def renew(self, pairs: Pairs, lease: float) -> list[tuple[int, int]]:
        """Begin the leases of these rows anew; gives those that are still ours."""
        fresh = self.extend(pairs, lease)
        missing = set(pairs) - set(fresh)
        if not missing:
            return fresh
        # What a worker of ours runs in a transaction is locked, for minutes perhaps, and
        # so is what the monitor removes right now: wait for nobody. Nobody else can have
        # it while it is locked, whatever became of its lease.
        locked = self.ours(sorted(missing))
        return [*fresh, *self.select(self.columns(("id", "deliveries")), locked)]

    def extend(self, pairs: Pairs, lease: float) -> list[tuple[int, int]]:
        """The same, without those that are locked."""
        rows = self.change_unlocked(self.ours(pairs), Change(self.moment(lease)))
        return [(row.id, row.deliveries) for row in rows]

    def lock(self, pairs: Pairs) -> bool:
        """Lock these rows until the transaction ends; False if one is not ours.

        Raises PackageLocked where others have locked one.
        """
        ours, lock = self.ours(pairs), self.lock_words(skip_locked=True)
        if len(self.select(self.quoted("id"), ours, lock)) == len(pairs):
            return True
        if len(self.select(self.quoted("id"), ours)) < len(pairs):
            return False
        raise PackageLocked

    def remove(self, where: SQL) -> list[tuple[int, int]]:
        """Remove rows; gives id and delivery of each."""
        columns = self.columns(("id", "deliveries"))
        with writing(self.connection.alias):
            lock = self.lock_words()
            select = f"SELECT {columns} FROM {self.name} WHERE {where.text}{lock}"
            rows = self.fetch(select, where.values)
            if rows:
                ids = self.ids([row[0] for row in rows])
                self.execute(f"DELETE FROM {self.name} WHERE {ids.text}", ids.values)
        return rows

    def purge(self) -> None:
        """Remove all rows of the queue."""
        with writing(self.connection.alias, patient=self.patient):
            text = f"DELETE FROM {self.name} WHERE {self.quoted('key')} = %s"
            self.execute(text, (self.key,))

    def lock_and_change(
        self,
        wheres: Sequence[SQL],
        change: Change,
        count: int | None = None,
        *,
        skip_locked: bool = False,
    ) -> list[Row]:
        after = [
            f"{self.quoted(name)} + 1" if name in change.counts else self.quoted(name)
            for name in self.returned(change)
        ]
        assignments = self.assignments(change)
        rows: list[tuple[Any, ...]] = []
        with writing(self.connection.alias):
            lock = self.lock_words(skip_locked=skip_locked)
            for where in wheres:
                if rows and len(rows) == count:
                    break
                first = "" if count is None else self.first(count - len(rows))
                rows += self.select(", ".join(after), where, first + lock)
            if rows:
                ids = self.ids([row[0] for row in rows])
                update = f"UPDATE {self.name} SET {assignments.text} WHERE {ids.text}"
                self.execute(update, assignments.values + ids.values)
        return self.as_rows(rows, change)

    def assignments(self, change: Change) -> SQL:
        grown = (f"{self.quoted(c)} = {self.quoted(c)} + 1" for c in change.counts)
        parts = list(grown)
        values: tuple[Any, ...] = ()
        if change.lock is not None:
            parts.append(f"{self.quoted('lock')} = {change.lock.text}")
            values += change.lock.values
        if change.frees:
            parts.append(f"{self.quoted('holder')} = NULL")
        elif change.holder is not None:
            parts.append(f"{self.quoted('holder')} = %s")
            values += (change.holder,)
        return SQL(", ".join(parts), values)

    def returned(self, change: Change) -> tuple[str, ...]:
        return COLUMNS if change.reads_payload else ("id", *COLUMNS[2:])

    def as_rows(self, rows: Iterable[tuple[Any, ...]], change: Change) -> list[Row]:
        if change.reads_payload:
            return [Row(*row) for row in rows]
        return [Row(row[0], "", *row[1:]) for row in rows]

    def wake(self) -> None:
        """Call whoever waits for packages, where the database can."""

    # -- new rows

    @abstractmethod
    def insert(self, new: Consignment) -> int:
        """One new row; gives its id, or that of the row with this task id."""

    def new_row(self, new: Consignment) -> SQL:
        moment, columns = self.moment(new.delay), self.new_columns([new])
        values: list[Any] = []
        for name in columns:
            values += moment.values if name == "lock" else (FACTS[name](new),)
        marks = ", ".join([moment.text if c == "lock" else "%s" for c in columns])
        text = f"INSERT INTO {self.name} ({self.columns(columns)}) VALUES ({marks})"
        return SQL(text, tuple(values))

    def new_columns(self, new: Sequence[Consignment]) -> list[str]:
        """Those that new rows need, and that are there."""
        columns = ["key", "payload", "lock", "task_id"]
        if any(consignment.priority for consignment in new):
            # Nobody else need know whether the migration that adds it has run.
            columns.append("priority")
        # A migration of the project may enqueue before all of ours have run.
        there = columns_meanwhile(OrmQ, self.connection.alias)
        return [name for name in columns if there is None or name in there]

    def insert_many(self, new: Sequence[Consignment]) -> None:
        """New rows, on whichever queue, all or none."""
        columns = self.new_columns(new)
        # The drivers join many rows into one statement only where each value is a
        # plain placeholder: the moment is asked for first.
        text = (
            f"INSERT INTO {self.name} ({self.columns(columns)})"
            f" VALUES ({', '.join(['%s'] * len(columns))}) {self.or_nothing}"
        )
        with writing(self.connection.alias):
            moments = self.moments({each.delay for each in new})
            values = values_of(new, columns, [moments[each.delay] for each in new])
            with self.connection.cursor() as cursor:
                cursor.executemany(text, list(zip(*values, strict=True)))

    def moments(self, delays: Collection[float]) -> dict[float, str]:
        """The moments after these delays, as plain values."""
        now = self.moment()
        [[text]] = self.fetch(f"SELECT CAST({now.text} AS CHAR)", now.values)
        start = datetime.fromisoformat(text)
        return {delay: str(start + timedelta(seconds=delay)) for delay in delays}

    def find_id(self, task_id: str | None) -> int:
        """The id of the row that has this task id already."""
        where = SQL(f"{self.quoted('task_id')} = %s", (task_id,))
        rows = self.select(self.quoted("id"), where)
        return int(rows[0][0]) if rows else 0

    # -- looking

    def held(self) -> list[Row]:
        """Everything that is leased to this cluster."""
        rows = self.select(self.columns(COLUMNS), self.held_by(self.holder))
        return [Row(*row) for row in rows]

    def find_held(self, where: SQL, most: int) -> list[tuple[int, str, str | None]]:
        """Id, holder and task id of what clusters hold, and meets a condition."""
        columns = self.columns(("id", "holder", "task_id"))
        return self.select(columns, where, f" LIMIT {int(most)}")

    def free_held(self, ids: Sequence[int], where: SQL, lock: SQL | None) -> set[int]:
        """Free those of these rows that still meet the condition; gives their ids.

        What is locked is alive: its worker runs it in a transaction.
        """
        freed = Change(lock, frees=True, counts=("rescues",), wakes=True)
        return {row.id for row in self.change_unlocked(self.ids(ids) & where, freed)}

    def held_by(self, cluster: str | None) -> SQL:
        """Rows that this cluster holds, whether or not its lease ran out."""
        text = f"{self.quoted('key')} = %s AND {self.quoted('holder')} = %s"
        return SQL(text, (self.key, cluster))

    def lapsed(self) -> SQL:
        """Rows that another cluster holds although its lease ran out."""
        now = self.moment()
        text = (
            f"{self.quoted('key')} = %s AND {self.quoted('lock')} < {now.text}"
            f" AND {self.quoted('holder')} <> %s"
        )
        return SQL(text, (self.key, *now.values, self.holder or ""))

    def count(self, comparison: str) -> int:
        """Rows whose `lock` compares like this with the present moment."""
        now = self.moment()
        where = SQL(
            f"{self.quoted('key')} = %s AND {self.quoted('lock')} {comparison} {now.text}",
            (self.key, *now.values),
        )
        [[number]] = self.select("COUNT(*)", where)
        return int(number)

    def has_any(self) -> bool:
        """Whether there are rows at all, whoever holds them."""
        where = SQL(f"{self.quoted('key')} = %s", (self.key,))
        return bool(self.select("1", where, " LIMIT 1"))

    def next_due(self) -> float | None:
        """Seconds until the next row that nobody holds is due."""
        rest, due = self.rest_of_lock(), self.earliest(self.waits)
        lock = self.quoted("lock")
        text = f"SELECT {rest.text} FROM ({due.text}) AS due WHERE {lock} IS NOT NULL"
        rows = self.fetch(text, rest.values + due.values)
        return max(0.0, float(rows[0][0])) if rows else None

    def peek(self, count: int, *, all_lapsed: bool) -> list[str]:
        """The packages of the first rows that may be taken."""

        def free(rank: str) -> SQL:
            return self.free(rank, all_lapsed=all_lapsed)

        packages: list[str] = []
        for rank in self.find_ranks(free, count):
            if len(packages) < count:
                first = self.first(count - len(packages))
                rows = self.select(self.quoted("payload"), free(str(rank)), first)
                packages += [package for [package] in rows]
        return packages

    # -- reading and doing

    def select(self, columns: str, where: SQL, tail: str = "") -> list[tuple[Any, ...]]:
        text = f"SELECT {columns} FROM {self.name} WHERE {where.text}{tail}"
        return self.fetch(text, where.values)


def values_of(
    new: Sequence[Consignment], columns: Iterable[str], locks: Sequence[Any]
) -> list[Sequence[Any]]:
    """The values of new rows, column by column; of `lock` these."""
    return [
        locks if name == "lock" else list(map(FACTS[name], new)) for name in columns
    ]
