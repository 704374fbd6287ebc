"""Which kind of table speaks the language of which database."""

from __future__ import annotations

from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

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


def open_table(
    connection: BaseDatabaseWrapper, key: str, holder: str | None = None
) -> Table:
    """The table of the queue `key` in this database."""
    kind = TABLES.get(connection.vendor)
    if kind is None:
        known = "SQLite, PostgreSQL, MariaDB and MySQL"
        message = f"The ORM broker works with {known}, not with {connection.vendor!r}."
        raise ConfigurationError(message)
    return kind(connection, key, holder)
