"""Ranks: which rows of a queue come first."""

from __future__ import annotations

from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from django_q.brokers.dialect import SQL, Dialect
from django_q.models import OrmQ, PausedQueue

Where = Callable[[str], SQL]
"""A condition on the rows of one priority, which is a number or a column's name."""


class Ranks(Dialect):
    """The rows of a queue by priority, by the moment at which they are due, and by id.

    The index has them in this order. But rows that wait for their time, or are held,
    stand between those of one priority that are due and those of the next one: nobody
    is to walk over them, so each priority is looked at by itself.
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, key: str, holder: str | None
    ) -> None:
        super().__init__(connection)
        self.key = key
        self.holder = holder
        self.name = self.quoted(OrmQ._meta.db_table)  # noqa: SLF001 - public by its docs

    def free(self, rank: str, *, all_lapsed: bool = False) -> SQL:
        """Rows of one priority that may be taken. What a cluster holds is rescued
        before, unless `all_lapsed`.
        """
        now = self.moment()
        text = f"{self.of_rank(rank)} AND {self.quoted('lock')} < {now.text}"
        if not all_lapsed:
            text += f" AND {self.quoted('holder')} IS NULL"
        return SQL(text, (self.key, *now.values))

    def waits(self, rank: str) -> SQL:
        """Rows of one priority that nobody holds, and whose time is yet to come."""
        now, holder = self.moment(), self.quoted("holder")
        lock = f"{self.quoted('lock')} > {now.text}"
        text = f"{self.of_rank(rank)} AND {lock} AND {holder} IS NULL"
        return SQL(text, (self.key, *now.values))

    def of_rank(self, rank: str) -> str:
        return f"{self.quoted('key')} = %s AND {self.quoted('priority')} = {rank}"

    def unpaused(self) -> SQL:
        """Nobody has paused the queue."""
        pauses = self.quoted(PausedQueue._meta.db_table)  # noqa: SLF001 - public by its docs
        text = f"NOT EXISTS (SELECT 1 FROM {pauses} WHERE {self.quoted('key')} = %s)"
        return SQL(text, (self.key,))

    def ranks(self) -> SQL:
        """The priorities that rows of the queue have, highest first: a WITH clause, with one
        look into the index for each.
        """
        first, other = self.rank_below(None), self.rank_below("ranks.priority")
        text = (
            f"WITH RECURSIVE ranks (priority) AS (SELECT ({first.text}) UNION ALL"
            f" SELECT ({other.text}) FROM ranks WHERE ranks.priority IS NOT NULL)"
        )
        return SQL(text, first.values + other.values)

    def rank_below(self, rank: str | int | None) -> SQL:
        """The highest priority below another one."""
        priority = self.quoted("priority")
        below = f" AND {priority} < {rank}" if rank is not None else ""
        text = (
            f"SELECT {priority} FROM {self.name} WHERE {self.quoted('key')} = %s{below}"
            f" ORDER BY {priority} DESC LIMIT 1"
        )
        return SQL(text, (self.key,))

    def earliest(self, where: Where) -> SQL:
        """The earliest `lock` of the rows that meet a condition; a table of one row."""
        ranks, first = self.ranks(), self.first_of("lock", where("ranks.priority"))
        lock = self.quoted("lock")
        text = (
            f"{ranks.text} SELECT MIN({lock}) AS {lock}"
            f" FROM (SELECT {first.text} AS {lock} FROM ranks) AS firsts"
        )
        return SQL(text, ranks.values + first.values)

    def find_ranks(self, where: Where, count: int) -> list[int]:
        """The highest priorities of which there are rows that meet a condition."""
        ranks, first = self.ranks(), self.first_of("id", where("ranks.priority"))
        text = (
            f"{ranks.text} SELECT ranks.priority FROM ranks"
            f" WHERE {first.text} IS NOT NULL ORDER BY 1 DESC LIMIT {int(count)}"
        )
        rows = self.fetch(text, ranks.values + first.values)
        return [int(rank) for [rank] in rows]

    def first_of(self, column: str, where: SQL) -> SQL:
        """A column of the first row of one priority."""
        column, tail = self.quoted(column), self.first(1)
        text = f"(SELECT {column} FROM {self.name} WHERE {where.text}{tail})"
        return SQL(text, where.values)

    def first(self, count: int) -> str:
        """So many rows of one priority, in their order."""
        # Not by `key`, which is the same in all: MariaDB would sort them where it is not
        # in the collation of the connection.
        return f" ORDER BY {self.columns(('lock', 'id'))} LIMIT {int(count)}"

    def lock_words(self, *, skip_locked: bool = False) -> str:
        features = self.connection.features
        if not features.has_select_for_update:
            return ""
        skips = skip_locked and features.has_select_for_update_skip_locked
        return " FOR UPDATE SKIP LOCKED" if skips else " FOR UPDATE"

    def head(self) -> SQL:
        """The `lock` that stands before, or at least with, those of all free rows."""
        head, now = self.earliest(self.free), self.moment()
        lock = self.quoted("lock")
        text = f"COALESCE((SELECT {lock} FROM ({head.text}) AS head), {now.text})"
        return SQL(text, head.values + now.values)
