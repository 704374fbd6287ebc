"""Questions that are asked again and again."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db import connections
from django.db.models import QuerySet


class Question:
    """The only value of the first row that a query set gives, or None.

    Its statement is put together once: that takes several times as long as to ask, the
    more so where it is done once in a second, and nothing of it is in a cache.
    """

    def __init__(self, rows: QuerySet[Any, Any]) -> None:
        self._rows = rows[:1]

    @cached_property
    def _compiler(self) -> Any:
        return self._rows.query.get_compiler(using=self._rows.db)

    @cached_property
    def _statement(self) -> tuple[str, tuple[Any, ...]]:
        statement: tuple[str, tuple[Any, ...]] = self._compiler.as_sql()
        return statement

    @cached_property
    def _converters(self) -> Any:
        """What makes a value of the model of that of the database."""
        return self._compiler.get_converters(
            [each[0] for each in self._compiler.select]
        )

    def ask(self) -> Any:
        """Raises what the database raises."""
        with connections[self._rows.db].cursor() as cursor:
            cursor.execute(*self._statement)
            rows = cursor.fetchmany(1)
        if self._converters:
            rows = list(self._compiler.apply_converters(rows, self._converters))
        return rows[0][0] if rows else None
