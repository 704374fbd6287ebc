"""Database connections between tasks: none stale, none inside a transaction."""

from __future__ import annotations

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_q.logs import logger

Aliases = frozenset[str]


def tidy_connections(outer: Aliases | None = None) -> Aliases:
    """Close connections that are broken or too old (CONN_MAX_AGE). Never raises.

    Call it before a task: it gives the databases on which a transaction is open that is
    not the task's. Give it those after the task: any other transaction was left open
    and is rolled back, for it would swallow whatever later tasks write.
    """
    busy = set()
    for connection in connections.all(initialized_only=True):
        alias = connection.alias
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            elif outer is None or alias in outer:
                busy.add(alias)
            else:
                _abandon(connection)
        except Exception:  # noqa: BLE001 - drivers raise what they like; the task ended
            logger.exception("database connection %r did not close", alias)
    return frozenset(busy)


def _abandon(connection: BaseDatabaseWrapper) -> None:
    text = "a task left a transaction on database %r open; it was rolled back"
    logger.error(text, connection.alias)
    # The next query makes a new connection, which knows nothing of the transaction.
    del connections[connection.alias]
    connection.close()
