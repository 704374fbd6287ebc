"""Table: the queue's rows in a database; MariaDB, MySQL, and what all have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from django_q.brokers.base import Consignment
from django_q.models import OrmQ
from django_q.models.columns import columns_meanwhile
from django_q.transactions import writing

COLUMNS: Final = ("id", "payload", "deliveries", "starts", "attempts", "rescues")
NEW_COLUMNS: Final = ("key", "payload", "lock", "task_id")


Pairs = Sequence[tuple[int, int]]
"""Ids of rows, each with the delivery that its receipt names."""


class SQL(NamedTuple):
    """A piece of SQL and the values of its placeholders."""

    text: str
    values: tuple[Any, ...] = ()


class Row(NamedTuple):
    """A row as it is after a change."""

    id: int
    payload: str
    deliveries: int
    starts: int
    attempts: int
    rescues: int


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


class Table:
    """The rows of one queue as one cluster sees them, or as nobody in particular does.

    This class itself reads and locks rows, then writes them, in one transaction: the
    way of databases that can't return what they update.
    """

    quote = "`"

    def __init__(
        self, connection: BaseDatabaseWrapper, key: str, holder: str | None
    ) -> None:
        self.connection = connection
        self.key = key
        self.holder = holder
        self.name = self.quoted(OrmQ._meta.db_table)  # noqa: SLF001 - public by its docs

    @property
    def patient(self) -> bool:
        """A cluster's own processes leave room for everybody else's writes."""
        return self.holder is not None

    # -- words

    def quoted(self, name: str) -> str:
        return f"{self.quote}{name}{self.quote}"

    def columns(self, names: Iterable[str]) -> str:
        return ", ".join(map(self.quoted, names))

    def moment(self, delay: float = 0) -> SQL:
        """This moment, or one after `delay` seconds, as the column `lock` has it."""
        # Rows hold the local time of the connection's zone. The session's own zone may
        # be any: only UTC is certain.
        zone = self.connection.timezone or timezone.get_default_timezone()
        offset = timezone.now().astimezone(zone).utcoffset() or timedelta()
        shift = offset + timedelta(seconds=delay)
        return SQL(
            "(UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND)",
            (shift // timedelta(microseconds=1),),
        )

    def rest_of_lock(self) -> SQL:
        """Seconds until a row's `lock`."""
        now = self.moment()
        return SQL(f"TIMESTAMPDIFF(MICROSECOND, {now.text}, `lock`) / 1e6", now.values)

    def head(self) -> SQL:
        """The `lock` that stands before, or at least with, those of all free rows."""
        free, now = self.free(), self.moment()
        text = (
            f"COALESCE((SELECT head FROM (SELECT MIN({self.quoted('lock')}) AS head"
            f" FROM {self.name} WHERE {free.text}) AS front), {now.text})"
        )
        return SQL(text, free.values + now.values)

    def ids(self, ids: Sequence[int]) -> SQL:
        """Rows with one of these ids: whole numbers, written out."""
        return SQL(f"{self.quoted('id')} IN ({', '.join(map(str, map(int, ids)))})")

    # -- conditions

    def free(self, *, all_lapsed: bool = False) -> SQL:
        """Rows that may be taken. What a cluster holds is rescued before, unless
        `all_lapsed`.
        """
        now, lock = self.moment(), self.quoted("lock")
        text = f"{self.quoted('key')} = %s AND {lock} < {now.text}"
        if not all_lapsed:
            text += f" AND {self.quoted('holder')} IS NULL"
        return SQL(text, (self.key, *now.values))

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
        return self.lock_and_change(where, change)

    def claim(self, free: SQL, count: int, change: Change) -> list[Row]:
        """Change the first rows that may be taken, skipping what others take now."""
        # An empty queue needs no transaction, and no lock.
        if not self.select("1", free, " LIMIT 1"):
            return []
        return self.claim_first(free, count, change)

    def claim_first(self, free: SQL, count: int, change: Change) -> list[Row]:
        tail = f" ORDER BY {self.columns(('lock', 'id'))} LIMIT {int(count)}"
        return self.lock_and_change(free, change, tail, skip_locked=True)

    def renew(self, pairs: Pairs, lease: float) -> list[tuple[int, int]]:
        """Begin the leases of these rows anew; gives those that are still ours."""
        # What the monitor is removing right now is locked: wait for nobody. It is ours
        # unless its lease ran out, for then a rescuer may be the one who has locked it.
        ours, now = self.ours(pairs), self.moment()
        in_time = f"{ours.text} AND {self.quoted('lock')} > {now.text}"
        columns = self.columns(("id", "deliveries"))
        safe = self.select(columns, SQL(in_time, ours.values + now.values))
        change = Change(self.moment(lease))
        fresh = self.lock_and_change(ours, change, skip_locked=True)
        return [*safe, *((row.id, row.deliveries) for row in fresh)]

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
        self, where: SQL, change: Change, tail: str = "", *, skip_locked: bool = False
    ) -> list[Row]:
        after = [
            f"{self.quoted(name)} + 1" if name in change.counts else self.quoted(name)
            for name in self.returned(change)
        ]
        text = f"SELECT {', '.join(after)} FROM {self.name} WHERE {where.text}{tail}"
        assignments = self.assignments(change)
        with writing(self.connection.alias):
            lock = self.lock_words(skip_locked=skip_locked)
            rows = self.fetch(text + lock, where.values)
            if rows:
                ids = self.ids([row[0] for row in rows])
                update = f"UPDATE {self.name} SET {assignments.text} WHERE {ids.text}"
                self.execute(update, assignments.values + ids.values)
        return self.as_rows(rows, change)

    def lock_words(self, *, skip_locked: bool = False) -> str:
        features = self.connection.features
        if not features.has_select_for_update:
            return ""
        skips = skip_locked and features.has_select_for_update_skip_locked
        return " FOR UPDATE SKIP LOCKED" if skips else " FOR UPDATE"

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

    # -- new rows

    def insert(self, package: str, task_id: str | None, delay: float) -> int:
        """One new row; gives its id, or that of the row with this task id."""
        new = self.new_row(package, task_id, delay)
        text = f"{new.text} ON DUPLICATE KEY UPDATE `id` = LAST_INSERT_ID(`id`)"
        with self.connection.cursor() as cursor:
            cursor.execute(text, new.values)
            return int(cursor.lastrowid)

    def new_row(self, package: str, task_id: str | None, delay: float) -> SQL:
        moment = self.moment(delay)
        columns, marks = list(NEW_COLUMNS), ["%s", "%s", moment.text, "%s"]
        values = [self.key, package, *moment.values, task_id]
        there = columns_meanwhile(OrmQ, self.connection.alias)
        if there is not None and NEW_COLUMNS[-1] not in there:
            # A migration of the project enqueues before all of ours have run.
            for part in (columns, marks, values):
                part.pop()
        text = (
            f"INSERT INTO {self.name} ({self.columns(columns)})"
            f" VALUES ({', '.join(marks)})"
        )
        return SQL(text, tuple(values))

    def insert_many(self, consignments: Sequence[Consignment]) -> None:
        """New rows, on whichever queue, all or none."""
        # The drivers join many rows into one statement only where each value is a
        # plain placeholder: the moment is asked for first.
        now = self.moment()
        with writing(self.connection.alias):
            [[moment]] = self.fetch(f"SELECT CAST({now.text} AS CHAR)", now.values)
            rows = [(c.queue, c.package, moment, c.task_id) for c in consignments]
            with self.connection.cursor() as cursor:
                cursor.executemany(self.many_rows(), rows)

    def many_rows(self) -> str:
        return (
            f"INSERT INTO {self.name} ({self.columns(NEW_COLUMNS)})"
            f" VALUES (%s, %s, %s, %s) ON DUPLICATE KEY UPDATE `id` = `id`"
        )

    def find_id(self, task_id: str | None) -> int:
        """The id of the row that has this task id already."""
        where = SQL(f"{self.quoted('task_id')} = %s", (task_id,))
        rows = self.select(self.quoted("id"), where)
        return int(rows[0][0]) if rows else 0

    # -- looking

    def held(self) -> list[Row]:
        """Everything that is leased to this cluster."""
        key, holder = self.quoted("key"), self.quoted("holder")
        where = SQL(f"{key} = %s AND {holder} = %s", (self.key, self.holder))
        rows = self.select(self.columns(COLUMNS), where)
        return [Row(*row) for row in rows]

    def find_lapsed(self) -> list[tuple[int, str, str | None]]:
        """Id, holder and task id of what other clusters held for too long."""
        return self.select(self.columns(("id", "holder", "task_id")), self.lapsed())

    def free_lapsed(self, ids: Sequence[int]) -> set[int]:
        """Free those of these rows that nobody has freed before; gives their ids."""
        these, lapsed = self.ids(ids), self.lapsed()
        where = SQL(f"{these.text} AND {lapsed.text}", these.values + lapsed.values)
        freed = Change(frees=True, counts=("rescues",), wakes=True)
        return {row.id for row in self.change(where, freed)}

    def lapsed(self) -> SQL:
        """Rows that another cluster holds although its lease ran out."""
        free = self.free(all_lapsed=True)
        text = f"{free.text} AND {self.quoted('holder')} <> %s"
        return SQL(text, (*free.values, self.holder or ""))

    def count(self, comparison: str) -> int:
        """Rows whose `lock` compares like this with the present moment."""
        now = self.moment()
        where = SQL(
            f"{self.quoted('key')} = %s AND {self.quoted('lock')} {comparison} {now.text}",
            (self.key, *now.values),
        )
        [[number]] = self.select("COUNT(*)", where)
        return int(number)

    def next_due(self) -> float | None:
        """Seconds until the next row that nobody holds is due."""
        rest, now, lock = self.rest_of_lock(), self.moment(), self.quoted("lock")
        where = SQL(
            f"{self.quoted('key')} = %s AND {lock} > {now.text}"
            f" AND {self.quoted('holder')} IS NULL",
            (self.key, *now.values),
        )
        text = f"SELECT {rest.text} FROM {self.name} WHERE {where.text}"
        text += f" ORDER BY {lock} LIMIT 1"
        rows = self.fetch(text, rest.values + where.values)
        return max(0.0, float(rows[0][0])) if rows else None

    # -- reading and doing

    def select(self, columns: str, where: SQL, tail: str = "") -> list[tuple[Any, ...]]:
        text = f"SELECT {columns} FROM {self.name} WHERE {where.text}{tail}"
        return self.fetch(text, where.values)

    def fetch(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(text, values)
            return list(cursor.fetchall())

    def execute(self, text: str, values: Sequence[Any]) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(text, values)
            return int(cursor.rowcount)
