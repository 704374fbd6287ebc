"""Dialect: the words of a database, and how they are spoken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper


class SQL(NamedTuple):
    """A piece of SQL and the values of its placeholders."""

    text: str
    values: tuple[Any, ...] = ()

    def __and__(self, other: SQL) -> SQL:
        """Both conditions."""
        return SQL(f"{self.text} AND {other.text}", self.values + other.values)


class Dialect(ABC):
    """What the statements of a queue are made of, and the connection they go to."""

    quote = '"'
    escape = r" ESCAPE '\'"
    """Says what quotes the signs of a pattern after LIKE."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    # -- words

    def quoted(self, name: str) -> str:
        return f"{self.quote}{name}{self.quote}"

    def columns(self, names: Iterable[str]) -> str:
        return ", ".join(map(self.quoted, names))

    @abstractmethod
    def moment(self, delay: float = 0) -> SQL:
        """This moment, or one after `delay` seconds, as the column `lock` has it."""

    @abstractmethod
    def rest_of_lock(self) -> SQL:
        """Seconds until a row's `lock`."""

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
