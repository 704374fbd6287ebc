"""Database connections between tasks: none stale, none inside a transaction."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from django_q.logs import logger

Aliases = frozenset[str]
Known = dict[str, BaseDatabaseWrapper]


def tidy_connections(outer: Aliases | None = None) -> Aliases:
    """Close connections that are broken or too old (CONN_MAX_AGE). Never raises.

    Call it before a task: it gives the databases on which a transaction is open that is
    not the task's. Give it those after the task: any other transaction was left open
    and is rolled back, for it would swallow whatever later tasks write.
    """
    return tidy(_initialised(), outer)


class OwnConnections(threading.local):
    """The connections of this thread, for who tidies them up around each task: to ask
    Django which there are takes longer than to look after them.
    """

    def __init__(self) -> None:
        # threading.local calls this in each thread.
        self.known = _initialised()
        connection_created.connect(self._note)

    def _note(self, connection: BaseDatabaseWrapper, **_kwargs: Any) -> None:
        self.known[connection.alias] = connection


def _initialised() -> Known:
    return {each.alias: each for each in connections.all(initialized_only=True)}


def tidy(known: Known, outer: Aliases | None = None) -> Aliases:
    """As `tidy_connections`, for these. What is abandoned is not known any more."""
    busy = set()
    for alias, connection in tuple(known.items()):
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            elif outer is None or alias in outer:
                busy.add(alias)
            else:
                del known[alias]
                _abandon(connection)
        except Exception:  # noqa: BLE001 - drivers raise what they like; the task ended
            logger.exception("database connection %r did not close", alias)
    return frozenset(busy)


def _abandon(connection: BaseDatabaseWrapper) -> None:
    alias = connection.alias
    text = "a task left a transaction on database %r open; it was rolled back"
    logger.error(text, alias)
    if connections[alias] is connection:
        # The next query makes a new connection, which knows nothing of the transaction.
        del connections[alias]
    connection.close()
