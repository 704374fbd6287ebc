"""SQLiteTable: the queue's rows in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import timedelta

from django_q import clock
from django_q.brokers.base import Consignment
from django_q.brokers.table import NEW_COLUMNS, SQL, Change, Pairs, Row, Table
from django_q.transactions import writing


class SQLiteTable(Table):
    """One statement each. The clock is this machine's: the database has no other."""

    quote = '"'

    @property
    def can_return(self) -> bool:
        return sqlite3.sqlite_version_info >= (3, 35)

    def moment(self, delay: float = 0) -> SQL:
        then = clock.now() + timedelta(seconds=delay)
        return SQL("%s", (self.connection.ops.adapt_datetimefield_value(then),))

    def rest_of_lock(self) -> SQL:
        now = self.moment()
        return SQL(f"(julianday(lock) - julianday({now.text})) * 86400", now.values)

    def claim_first(self, free: SQL, count: int, change: Change) -> list[Row]:
        if not self.can_return:
            return super().claim_first(free, count, change)
        first = (
            f'"id" IN (SELECT "id" FROM {self.name} WHERE {free.text}'
            f' ORDER BY "lock", "id" LIMIT {int(count)})'
        )
        return self.change(SQL(first, free.values), change)

    def change(self, where: SQL, change: Change) -> list[Row]:
        with writing(self.connection.alias, patient=self.patient):
            if not self.can_return:
                return super().change(where, change)
            new = self.assignments(change)
            columns = self.columns(self.returned(change))
            text = (
                f"UPDATE {self.name} SET {new.text} WHERE {where.text}"
                f" RETURNING {columns}"
            )
            return self.as_rows(self.fetch(text, new.values + where.values), change)

    def remove(self, where: SQL) -> list[tuple[int, int]]:
        with writing(self.connection.alias, patient=self.patient):
            if not self.can_return:
                return super().remove(where)
            text = (
                f"DELETE FROM {self.name} WHERE {where.text}"
                f' RETURNING "id", "deliveries"'
            )
            return self.fetch(text, where.values)

    def renew(self, pairs: Pairs, lease: float) -> list[tuple[int, int]]:
        rows = self.change(self.ours(pairs), Change(self.moment(lease)))
        return [(row.id, row.deliveries) for row in rows]

    def insert(self, package: str, task_id: str | None, delay: float) -> int:
        new = self.new_row(package, task_id, delay)
        with self.connection.cursor() as cursor:
            cursor.execute(f"{new.text} ON CONFLICT DO NOTHING", new.values)
            if cursor.rowcount:
                return int(cursor.lastrowid)
        return self.find_id(task_id)

    def insert_many(self, consignments: Sequence[Consignment]) -> None:
        [moment] = self.moment().values
        rows = [(c.queue, c.package, moment, c.task_id) for c in consignments]
        with writing(self.connection.alias), self.connection.cursor() as cursor:
            cursor.executemany(self.many_rows(), rows)

    def many_rows(self) -> str:
        return (
            f"INSERT INTO {self.name} ({self.columns(NEW_COLUMNS)})"
            f" VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
        )
