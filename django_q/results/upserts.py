"""Upserts: many rows in one go, in the words of each database.

A row that is there already yields to a better one only: a success beats a failure,
never the reverse, and of two alike the higher attempt wins. Saving again what is saved
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from django_q.compact import to_json
from django_q.models import Task
from django_q.results.record import Record

COLUMNS: Final = (
    "id",
    "name",
    "func",
    "hook",
    "args",
    "kwargs",
    "result",
    "group",
    "cluster",
    "started",
    "stopped",
    "success",
    "attempt_count",
)
"""The columns of a row, in the order of a record's fields, which begins with them."""

CASTS: Final = {
    "started": "timestamptz",
    "stopped": "timestamptz",
    "success": "boolean",
    "attempt_count": "int",
}
"""What PostgreSQL makes of the text that is in JSON; the others are text."""

LARGEST_JSONB: Final = 200_000_000
"""Characters; jsonb takes 268,435,455 bytes."""

AT_UTC: Final = "+00:00"
REPLACED: Final = ("result", "cluster", "stopped")
"""What a better row brings, beside its success and its attempt."""


def upsert(connection: BaseDatabaseWrapper, records: Sequence[Record]) -> None:
    """Write the rows of these records, each with an id of its own."""
    UPSERTS[connection.vendor](connection, records)


def upsert_sqlite(connection: BaseDatabaseWrapper, records: Sequence[Record]) -> None:
    """One prepared statement, run for each row inside SQLite."""
    _upsert_each(connection, records, "MAX")


def upsert_postgres(connection: BaseDatabaseWrapper, records: Sequence[Record]) -> None:
    """One statement, which gets all rows as lists in JSON: half of the driver's work with
    dicts, a fraction of that with an array for each column, and no more for the server.
    """
    rows = to_json([record[: len(COLUMNS)] for record in records]).decode()
    if len(rows) > LARGEST_JSONB:
        _upsert_each(connection, records, "GREATEST")
        return
    table, columns = _words(connection)
    # PostgreSQL reads ISO 8601 itself; what has no offset is local there as it is here.
    values = [f"(given->>{n})::{CASTS.get(c, 'text')}" for n, c in enumerate(COLUMNS)]
    text = (
        f"INSERT INTO {table} ({columns}) SELECT {', '.join(values)}"  # noqa: S608 - names only
        f" FROM jsonb_array_elements(%s::jsonb) AS given"
        f" {_on_conflict(table, 'GREATEST')}"
    )
    with connection.cursor() as cursor:
        cursor.execute(text, [rows])


def _upsert_each(
    connection: BaseDatabaseWrapper, records: Sequence[Record], greatest: str
) -> None:
    table, columns = _words(connection)
    marks = ", ".join(["%s"] * len(COLUMNS))
    text = (
        f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names only
        f" {_on_conflict(table, greatest)}"
    )
    with connection.cursor() as cursor:
        cursor.executemany(text, _rows(connection, records))


def upsert_mysql(connection: BaseDatabaseWrapper, records: Sequence[Record]) -> None:
    """Statements of many rows each: the drivers join them as long as they may be."""
    table, columns = _words(connection)
    marks = ", ".join(["%s"] * len(COLUMNS))
    better = (
        "(VALUES(`success`) > `success` OR (VALUES(`success`) = `success`"
        " AND VALUES(`attempt_count`) > `attempt_count`))"
    )
    changes = [f"`{c}` = IF({better}, VALUES(`{c}`), `{c}`)" for c in REPLACED]
    # Assignments happen one after the other and see each other's work: `success` and
    # `attempt_count`, which decide, come last, and don't depend on what was decided.
    changes.append("`success` = GREATEST(`success`, VALUES(`success`))")
    changes.append(
        "`attempt_count` = IF(VALUES(`success`) = `success`,"
        " GREATEST(`attempt_count`, VALUES(`attempt_count`)), `attempt_count`)"
    )
    text = (
        f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names only
        f" ON DUPLICATE KEY UPDATE {', '.join(changes)}"
    )
    rows = _rows(connection, records)
    with connection.cursor() as cursor:
        cursor.executemany(text, rows)


UPSERTS: Final[
    Mapping[str, Callable[[BaseDatabaseWrapper, Sequence[Record]], None]]
] = {
    "sqlite": upsert_sqlite,
    "postgresql": upsert_postgres,
    "mysql": upsert_mysql,
}


def _words(connection: BaseDatabaseWrapper) -> tuple[str, str]:
    quote = connection.ops.quote_name
    table = quote(Task._meta.db_table)  # noqa: SLF001 - public by Django's docs
    return table, ", ".join(map(quote, COLUMNS))


def _on_conflict(table: str, greatest: str) -> str:
    """What SQLite and PostgreSQL do with a row that is there already."""
    changes = [f'"{c}" = excluded."{c}"' for c in (*REPLACED, "success")]
    attempts = f"{table}.attempt_count, excluded.attempt_count"
    changes.append(f'"attempt_count" = {greatest}({attempts})')
    return (
        f'ON CONFLICT ("id") DO UPDATE SET {", ".join(changes)}'
        f" WHERE (excluded.success AND NOT {table}.success)"
        f" OR (excluded.success = {table}.success"
        f" AND excluded.attempt_count > {table}.attempt_count)"
    )


def _rows(
    connection: BaseDatabaseWrapper, records: Sequence[Record]
) -> list[tuple[Any, ...]]:
    """What COLUMNS get: a record begins with them, and two of them are moments."""
    moment = _adapter(connection)
    return [(*r[:9], moment(r.started), moment(r.stopped), *r[11:13]) for r in records]


def _adapter(connection: BaseDatabaseWrapper) -> Callable[[str], Any]:
    """Makes of ISO 8601 what this database stores."""
    adapt = connection.ops.adapt_datetimefield_value
    keeps_utc = connection.vendor == "sqlite" and connection.timezone is UTC

    def stored(moment: str) -> Any:
        if keeps_utc and moment.endswith(AT_UTC):
            # As below, but not by way of an object: each row has two of them.
            return moment.removesuffix(AT_UTC).replace("T", " ")
        return adapt(datetime.fromisoformat(moment))

    return stored
