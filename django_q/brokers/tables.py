"""Which kind of table speaks the language of which database."""

from __future__ import annotations

from typing import Final

from django.db import connections

from django_q.brokers.mysql_table import MySQLTable
from django_q.brokers.postgres_table import PostgresTable
from django_q.brokers.sqlite_table import SQLiteTable
from django_q.brokers.table import Table
from django_q.exceptions import ConfigurationError

TABLES: Final[dict[str, type[Table]]] = {
    "sqlite": SQLiteTable,
    "postgresql": PostgresTable,
    "mysql": MySQLTable,
}
"""By the name that Django gives to the kind of database."""


def open_table(alias: str, key: str, holder: str | None = None) -> Table:
    """The table of the queue `key` in the database `alias`."""
    connection = connections[alias]
    kind = TABLES.get(connection.vendor)
    if kind is None:
        known = "SQLite, PostgreSQL, MariaDB and MySQL"
        message = f"The ORM broker works with {known}, not with {connection.vendor!r}."
        raise ConfigurationError(message)
    return kind(connection, key, holder)
