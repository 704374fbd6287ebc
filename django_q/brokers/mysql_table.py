"""MySQLTable: the queue's rows in MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone

from django_q.brokers.base import Consignment
from django_q.brokers.dialect import SQL
from django_q.brokers.mishaps import too_large
from django_q.brokers.packets import packet_limit
from django_q.brokers.ranks import Where
from django_q.brokers.table import Table

STATEMENT: Final = 4096
"""Bytes for the words around a package."""


class MySQLTable(Table):
    """Rows are locked, then written.

    These databases find their way in an index by what is written in the statement, and
    walk over everything where it comes from another row. So each priority is asked for
    by a statement of its own.
    """

    quote = "`"
    escape = ""
    or_nothing = "ON DUPLICATE KEY UPDATE `id` = `id`"

    def moment(self, delay: float = 0) -> SQL:
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
        now = self.moment()
        return SQL(f"TIMESTAMPDIFF(MICROSECOND, {now.text}, `lock`) / 1e6", now.values)

    def insert(self, new: Consignment) -> int:
        self._check_size([new])
        row = self.new_row(new)
        text = f"{row.text} ON DUPLICATE KEY UPDATE `id` = LAST_INSERT_ID(`id`)"
        with self.connection.cursor() as cursor:
            cursor.execute(text, row.values)
            return int(cursor.lastrowid)

    def insert_many(self, new: Sequence[Consignment]) -> None:
        self._check_size(new)
        super().insert_many(new)

    def _check_size(self, new: Iterable[Consignment]) -> None:
        largest = max(len(each.package) for each in new)
        limit = packet_limit(self.connection, largest)
        if largest > limit - STATEMENT:
            reason = f"it has {largest:,} bytes, max_allowed_packet is {limit:,}"
            raise too_large(self.connection.alias, reason)

    def find_ranks(self, where: Where, count: int) -> list[int]:
        found: list[int] = []
        below = self.rank_below(None)
        rank = self._look(SQL(f"({below.text})", below.values))[0]
        while rank is not None and len(found) < count:
            first, below = self.first_of("id", where(str(rank))), self.rank_below(rank)
            both = SQL(f"{first.text}, ({below.text})", first.values + below.values)
            row, lower = self._look(both)
            if row is not None:
                found.append(rank)
            rank = lower
        return found

    def earliest(self, where: Where) -> SQL:
        firsts = [self.first_of("lock", where(str(rank))) for rank in self._ranks()]
        parts = ["SELECT NULL AS `lock`", *(first.text for first in firsts)]
        values: tuple[Any, ...] = sum((first.values for first in firsts), ())
        union = " UNION ALL ".join(parts)
        return SQL(f"SELECT MIN(`lock`) AS `lock` FROM ({union}) AS firsts", values)

    def _ranks(self) -> Iterator[int]:
        rank = None
        while True:
            below = self.rank_below(rank)
            rank = self._look(SQL(f"({below.text})", below.values))[0]
            if rank is None:
                return
            yield rank

    def _look(self, what: SQL) -> tuple[int | None, ...]:
        [row] = self.fetch(f"SELECT {what.text}", what.values)
        return row
