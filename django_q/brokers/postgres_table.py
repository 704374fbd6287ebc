"""PostgresTable: the queue's rows in PostgreSQL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from django_q.brokers.base import Consignment
from django_q.brokers.dialect import SQL
from django_q.brokers.priorities import HIGHEST_PRIORITY
from django_q.brokers.table import Change, Row, Table, values_of
from django_q.brokers.trail import Floors, Trail
from django_q.models import OrmQ

# While the table has no statistics, which is when a burst comes into an empty queue, the
# planner takes IS NULL for so rare that it sorts the whole backlog at each claim. It has no
# such prejudice about this, nor about comparisons of rows, and walks along the index.
UNHELD: Final = "NOT COALESCE(\"holder\" <> '', FALSE)"

ABOVE: Final = '("lock", "id") >= (ranks.lock, ranks.id)'

MARGIN: Final = 2
"""Seconds; longer ago nobody enqueued who has not committed since, or seldom."""

EVERY_RANK: Final = range(-HIGHEST_PRIORITY, HIGHEST_PRIORITY + 1)
NOWHERE: Final = (None, 0)

LOWEST: Final = -(2**31)
HIGHEST: Final = 2**31 - 1
"""Numbers that no priority is beyond."""

CASTS: Final = {
    "lock": "statement_timestamp() + \"lock\"::float8 * interval '1 second'",
    "priority": '"priority"::int',
}
"""How a column is made of its text in JSON; `lock` comes as a delay."""


class PostgresTable(Table):
    """One statement each, which also wakes who waits: notices travel with the commit."""

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

    def claim(
        self, count: int, change: Change, trail: Trail, *, all_lapsed: bool
    ) -> list[Row]:
        free = self.free("ranks.priority", all_lapsed=all_lapsed)
        if trail.is_good:
            if trail.is_old:
                self.follow(trail, free)
            ranks = ranks_above(trail.floors)
            return self.claim_of(ranks, free & SQL(ABOVE), count, change)
        with trail.watched(count):
            rows = self.claim_of(self.ranks(), free, count, change)
        if trail.is_needed:
            self.follow(trail, free)
        return rows

    def claim_of(self, ranks: SQL, free: SQL, count: int, change: Change) -> list[Row]:
        # Each priority is looked at when those before it gave too few. An array is read
        # once; with IN the planner may ask again for each row, and then takes more than
        # `count`.
        gate, limit = self.unpaused(), int(count)
        first = (
            f'"id" = ANY(ARRAY({ranks.text} SELECT free."id" FROM ranks CROSS JOIN'
            f' LATERAL (SELECT "id" FROM {self.name} WHERE {free.text}'
            f"{self.first(limit)} FOR UPDATE SKIP LOCKED) AS free"
            f" WHERE {gate.text} LIMIT {limit}))"
        )
        values = ranks.values + free.values + gate.values
        return self.change(SQL(first, values), change)

    def follow(self, trail: Trail, free: SQL) -> None:
        """Find where the rows of each priority begin that may be taken.

        Not later than MARGIN ago: who enqueued since may not have committed yet.
        """
        known = trail.floors if trail.is_good else {}
        ranks = ranks_above(dict.fromkeys(EVERY_RANK, NOWHERE) | {**known})
        margin = f"statement_timestamp() - interval '{MARGIN} s'"
        text = (
            f"{ranks.text} SELECT ranks.priority, first.id IS NOT NULL,"
            f" LEAST(first.lock, {margin}),"
            f" CASE WHEN first.lock < {margin} THEN first.id ELSE 0 END"
            f' FROM ranks LEFT JOIN LATERAL (SELECT "lock", "id" FROM {self.name}'
            f" WHERE {free.text} AND {ABOVE}{self.first(1)}) AS first ON TRUE"
        )
        floors = {
            rank: (lock, row)
            for rank, is_there, lock, row in self.fetch(
                text, ranks.values + free.values
            )
            if is_there or rank in trail.floors or rank == 0
        }
        trail.found(floors)

    def free(self, rank: str, *, all_lapsed: bool = False) -> SQL:
        text = f'{self.of_rank(rank)} AND "lock" < statement_timestamp()'
        if not all_lapsed:
            text += f" AND {UNHELD}"
        return SQL(text, (self.key,))

    def waits(self, rank: str) -> SQL:
        text = f'{self.of_rank(rank)} AND "lock" > statement_timestamp() AND {UNHELD}'
        return SQL(text, (self.key,))

    def rank_below(self, rank: str | int | None) -> SQL:
        text = (
            f'SELECT "priority" FROM {self.name}'
            f' WHERE ("key", "priority") >= (%s, {LOWEST})'
            f' AND ("key", "priority") < (%s, {HIGHEST if rank is None else rank})'
            f' ORDER BY "key" DESC, "priority" DESC LIMIT 1'
        )
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

    def change_unlocked(self, where: SQL, change: Change) -> list[Row]:
        text = (
            f'"id" = ANY(ARRAY(SELECT "id" FROM {self.name} WHERE {where.text}'
            f" FOR UPDATE SKIP LOCKED))"
        )
        return self.change(SQL(text, where.values), change)

    def insert(self, new: Consignment) -> int:
        row = self.new_row(new)
        text = f"{row.text} {self.or_nothing} RETURNING \"id\", pg_notify(%s, '')"
        rows = self.fetch(text, (*row.values, channel_of(self.key)))
        return int(rows[0][0]) if rows else self.find_id(new.task_id)

    def insert_many(self, new: Sequence[Consignment]) -> None:
        # Lists as JSON: the driver looks in each text of an array for what must be quoted.
        columns = self.new_columns(new)
        lists = values_of(new, columns, [each.delay for each in new])
        given = self.columns(columns)
        taken = ", ".join([CASTS.get(name, self.quoted(name)) for name in columns])
        texts = ", ".join(["json_array_elements_text(%s)"] * len(columns))
        text = (
            f"WITH added AS (INSERT INTO {self.name} ({given}) SELECT {taken}"
            f" FROM ROWS FROM ({texts}) WITH ORDINALITY AS new ({given}, place)"
            f" ORDER BY place ON CONFLICT DO NOTHING)"
            f" SELECT pg_notify(channel, '') FROM unnest(%s::text[]) AS channel"
        )
        channels = sorted(map(channel_of, {each.queue for each in new}))
        # Half characters are refused by the driver, and not joined to whole ones.
        told = [json.dumps(each, ensure_ascii=False, default=str) for each in lists]
        # Nobody waits for what it gives: in a pipeline, it has not come yet.
        self.execute(text, (*told, channels))

    def wake(self) -> None:
        self.fetch("SELECT pg_notify(%s, '')", (channel_of(self.key),))


def ranks_above(floors: Floors) -> SQL:
    """These priorities, and where the rows of each begin."""
    text = (
        "WITH ranks AS (SELECT priority, COALESCE(lock, '-infinity') AS lock, id"
        " FROM unnest(%s::int[], %s::timestamptz[], %s::bigint[])"
        " AS known (priority, lock, id) ORDER BY priority DESC)"
    )
    locks, ids = ([floor[n] for floor in floors.values()] for n in (0, 1))
    return SQL(text, (list(floors), locks, ids))


def channel_of(key: str) -> str:
    """Where PostgreSQL announces packages for this queue; a name of harmless letters."""
    return _channel(OrmQ._meta.db_table, key)  # noqa: SLF001 - public by its docs


@lru_cache(maxsize=64)
def _channel(table: str, key: str) -> str:
    digest = hashlib.sha256(f"{table}:{key}".encode()).hexdigest()
    return f"django_q_{digest[:32]}"
