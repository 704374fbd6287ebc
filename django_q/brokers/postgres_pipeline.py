"""Pipeline: statements that psycopg sends on while PostgreSQL runs those before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import Error

from django_q.brokers.base import Consignment
from django_q.brokers.streams import StreamBroken
from django_q.brokers.table import Table


def can_pipeline(connection: Any) -> bool:
    """Not with psycopg2, or an old libpq; nor in a transaction, where nothing that failed
    can be sent again.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return False
    connection.ensure_connection()
    pipeline = getattr(connection.Database, "Pipeline", None)
    is_there = pipeline is not None and pipeline.is_supported()
    return bool(is_there and connection.get_autocommit())


@contextmanager
def pipelined(table: Table) -> Iterator[Callable[[Sequence[Consignment]], None]]:
    """Gives what sends new rows. All are one transaction, which the end commits."""
    connection: Any = table.connection
    try:
        with connection.wrap_database_errors, connection.connection.pipeline():
            yield table.insert_many
    except Error as error:
        raise StreamBroken from error
