"""Pipeline: statements that psycopg sends on while PostgreSQL runs those before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db import InterfaceError, OperationalError, ProgrammingError

from django_q.brokers.base import Consignment, Stream
from django_q.brokers.mishaps import PASSING, judge, raise_told
from django_q.brokers.streams import StreamBroken
from django_q.brokers.table import Table


def opener(table: Table) -> Callable[[], Stream] | None:
    """None with psycopg2, or an old libpq; in a transaction, where nothing that failed can
    be sent again; and where somebody's code runs around each statement.
    """
    return partial(_pipelined, table) if _can_pipeline(table.connection) else None


def _can_pipeline(connection: Any) -> bool:
    pipeline = getattr(connection.Database, "Pipeline", None)
    return (
        connection.vendor == "postgresql"
        and pipeline is not None
        and pipeline.is_supported()
        and not connection.execute_wrappers
        and connection.get_autocommit()
    )


@contextmanager
def _pipelined(table: Table) -> Iterator[Callable[[Sequence[Consignment]], None]]:
    """Gives what sends new rows. All are one transaction, which the end commits."""
    connection: Any = table.connection
    try:
        with connection.wrap_database_errors, connection.connection.pipeline():
            yield table.insert_many
    except (OperationalError, InterfaceError, ProgrammingError) as error:
        if judge(error) in PASSING:
            raise StreamBroken from error
        raise_told(error, connection)
