"""PostgresTable: the queue's rows in PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from django_q.brokers.base import Consignment
from django_q.brokers.table import NEW_COLUMNS, SQL, Change, Pairs, Row, Table
from django_q.models import OrmQ


class PostgresTable(Table):
    """One statement each, which also wakes who waits: notices travel with the commit."""

    quote = '"'

    def moment(self, delay: float = 0) -> SQL:
        # The moment of the statement, not of the transaction; and not clock_timestamp(),
        # for which no index can be used.
        if not delay:
            return SQL("statement_timestamp()")
        return SQL("(statement_timestamp() + %s * interval '1 second')", (delay,))

    def rest_of_lock(self) -> SQL:
        return SQL('EXTRACT(EPOCH FROM "lock" - statement_timestamp())')

    def ids(self, ids: Sequence[int]) -> SQL:
        return SQL(
            f"\"id\" = ANY('{{{', '.join(map(str, map(int, ids)))}}}'::bigint[])"
        )

    def claim(self, free: SQL, count: int, change: Change) -> list[Row]:
        # An array is read once; with IN the planner may ask again for each row, and
        # then takes more than `count`.
        first = (
            f'"id" = ANY(ARRAY(SELECT "id" FROM {self.name} WHERE {free.text}'
            f' ORDER BY "key", "lock", "id" LIMIT {int(count)} FOR UPDATE SKIP LOCKED))'
        )
        return self.change(SQL(first, free.values), change)

    def free(self, *, all_lapsed: bool = False) -> SQL:
        # While the table has no statistics, which is when a burst comes into an empty
        # queue, the planner takes `=` and IS NULL for so rare that it sorts the whole
        # backlog at each claim. It has no such prejudice about these, and walks along
        # the index. They say the same.
        text = (
            '("key", "lock") >= (%s, \'-infinity\')'
            ' AND ("key", "lock") < (%s, statement_timestamp())'
        )
        if not all_lapsed:
            text += " AND NOT COALESCE(\"holder\" <> '', FALSE)"
        return SQL(text, (self.key, self.key))

    def change(self, where: SQL, change: Change) -> list[Row]:
        new = self.assignments(change)
        columns = self.columns(self.returned(change))
        text = (
            f"UPDATE {self.name} SET {new.text} WHERE {where.text} RETURNING {columns}"
        )
        values = new.values + where.values
        if change.wakes:
            text = (
                f"WITH changed AS ({text}), woken AS (SELECT pg_notify(%s, ''))"
                f" SELECT changed.* FROM changed, woken"
            )
            values += (channel_of(self.key),)
        return self.as_rows(self.fetch(text, values), change)

    def remove(self, where: SQL) -> list[tuple[int, int]]:
        text = (
            f'DELETE FROM {self.name} WHERE {where.text} RETURNING "id", "deliveries"'
        )
        return self.fetch(text, where.values)

    def renew(self, pairs: Pairs, lease: float) -> list[tuple[int, int]]:
        # What the monitor is removing right now is locked: wait for nobody. It is ours
        # unless its lease ran out, for then a rescuer may be the one who has locked it.
        ours, lock = self.ours(pairs), self.moment(lease)
        text = (
            f'WITH fresh AS (UPDATE {self.name} SET "lock" = {lock.text}'
            f' WHERE "id" = ANY(ARRAY(SELECT "id" FROM {self.name} WHERE {ours.text}'
            f' FOR UPDATE SKIP LOCKED)) RETURNING "id", "deliveries")'
            f" SELECT * FROM fresh UNION"
            f' SELECT "id", "deliveries" FROM {self.name}'
            f' WHERE {ours.text} AND "lock" > statement_timestamp()'
        )
        return self.fetch(text, (*lock.values, *ours.values, *ours.values))

    def insert(self, package: str, task_id: str | None, delay: float) -> int:
        new = self.new_row(package, task_id, delay)
        text = (
            f"WITH added AS ({new.text} ON CONFLICT DO NOTHING"
            f' RETURNING "id") SELECT "id", pg_notify(%s, \'\') FROM added'
        )
        rows = self.fetch(text, (*new.values, channel_of(self.key)))
        return int(rows[0][0]) if rows else self.find_id(task_id)

    def insert_many(self, consignments: Sequence[Consignment]) -> None:
        packages, queues, ids, *_ = map(list, zip(*consignments, strict=True))
        text = (
            f"WITH added AS (INSERT INTO {self.name} ({self.columns(NEW_COLUMNS)})"
            f" SELECT queue, package, statement_timestamp(), task_id"
            f" FROM unnest(%s::text[], %s::text[], %s::text[])"
            f" WITH ORDINALITY AS new (queue, package, task_id, place) ORDER BY place"
            f" ON CONFLICT DO NOTHING)"
            f" SELECT pg_notify(channel, '') FROM unnest(%s::text[]) AS channel"
        )
        channels = sorted(map(channel_of, set(queues)))
        self.fetch(text, (queues, packages, ids, channels))


def channel_of(key: str) -> str:
    """Where PostgreSQL announces packages for this queue; a name of harmless letters."""
    table = OrmQ._meta.db_table  # noqa: SLF001 - public by its docs
    digest = hashlib.sha256(f"{table}:{key}".encode()).hexdigest()
    return f"django_q_{digest[:32]}"
