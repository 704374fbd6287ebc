"""SQLiteTable: the queue's rows in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from django_q import clock
from django_q.brokers.base import Consignment
from django_q.brokers.dialect import SQL
from django_q.brokers.table import Change, Pairs, Row, Table
from django_q.transactions import writing


class SQLiteTable(Table):
    """One statement each. The clock is this machine's: the database has no other."""

    @property
    def can_return(self) -> bool:
        return sqlite3.sqlite_version_info >= (3, 35)

    def moment(self, delay: float = 0) -> SQL:
        then = clock.now() + timedelta(seconds=delay)
        # As Django writes it, which asks the settings again and again.
        if (zone := self.connection.timezone) is not None:
            then = then.astimezone(zone).replace(tzinfo=None)
        return SQL("%s", (str(then),))

    def rest_of_lock(self) -> SQL:
        now = self.moment()
        return SQL(f"(julianday(lock) - julianday({now.text})) * 86400", now.values)

    def claim_first(self, free: Sequence[SQL], count: int, change: Change) -> list[Row]:
        if not self.can_return:
            return super().claim_first(free, count, change)
        values: tuple[Any, ...] = sum((each.values for each in free), ())
        firsts = " UNION ALL ".join(
            f'SELECT * FROM (SELECT "id" FROM {self.name} WHERE {each.text}'
            f"{self.first(count)})"
            for each in free
        )
        first = SQL(f'"id" IN ({firsts} LIMIT {int(count)})', values)
        return self.change(first, change)

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

    def change_unlocked(self, where: SQL, change: Change) -> list[Row]:
        # Whoever writes has locked everything.
        return self.change(where, change)

    def renew(self, pairs: Pairs, lease: float) -> list[tuple[int, int]]:
        rows = self.change(self.ours(pairs), Change(self.moment(lease)))
        return [(row.id, row.deliveries) for row in rows]

    def insert(self, new: Consignment) -> int:
        row = self.new_row(new)
        with self.connection.cursor() as cursor:
            cursor.execute(f"{row.text} {self.or_nothing}", row.values)
            if cursor.rowcount:
                return int(cursor.lastrowid)
        return self.find_id(new.task_id)

    def moments(self, delays: Collection[float]) -> dict[float, str]:
        return {delay: self.moment(delay).values[0] for delay in delays}
