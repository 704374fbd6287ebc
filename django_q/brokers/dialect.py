"""Dialect: the words of a database, and how they are spoken; MariaDB's and MySQL's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone


class SQL(NamedTuple):
    """A piece of SQL and the values of its placeholders."""

    text: str
    values: tuple[Any, ...] = ()

    def __and__(self, other: SQL) -> SQL:
        """Both conditions."""
        return SQL(f"{self.text} AND {other.text}", self.values + other.values)


class Dialect:
    """What the statements of a queue are made of, and the connection they go to."""

    quote = "`"

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

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

    def ids(self, ids: Sequence[int]) -> SQL:
        """Rows with one of these ids: whole numbers, written out."""
        return SQL(f"{self.quoted('id')} IN ({', '.join(map(str, map(int, ids)))})")

    # -- speaking

    def fetch(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(text, values)
            return list(cursor.fetchall())

    def execute(self, text: str, values: Sequence[Any]) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(text, values)
            return int(cursor.rowcount)
