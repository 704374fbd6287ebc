"""Database connections between tasks: none stale, none inside a transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_q.logs import logger

Aliases = frozenset[str]
NONE: Final[Aliases] = frozenset()


def tidy_connections(outer: Aliases | None = None) -> Aliases:
    """Close connections that are broken or too old (CONN_MAX_AGE). Never raises.

    Call it before a task: it gives the databases on which a transaction is open that is
    not the task's. Give it those after the task: any other transaction was left open
    and is rolled back, for it would swallow whatever later tasks write.
    """
    return _tidy(connections.all(initialized_only=True), outer)


class Untouched:
    """In an application's own process its connections are left as they are."""

    def before(self) -> Aliases:
        return NONE

    def after(self, outer: Aliases) -> None:
        pass


class Tidier(threading.local):
    """tidy_connections before and after each task. Each thread has its own, as it has its
    own connections.
    """

    def __init__(self) -> None:
        self._known = connections.all(initialized_only=True)

    def before(self) -> Aliases:
        """Of those that there were after the last task: to ask Django which there are takes
        as long as all else. A hook since then has looked after its own.
        """
        return _tidy(self._known, None)

    def after(self, outer: Aliases) -> None:
        known = connections.all(initialized_only=True)
        busy = _tidy(known, outer)
        # One that was given up is another one now.
        self._known = [
            connections[c.alias] if c.in_atomic_block and c.alias not in busy else c
            for c in known
        ]


def _tidy(known: Sequence[BaseDatabaseWrapper], outer: Aliases | None) -> Aliases:
    busy = NONE
    for connection in known:
        alias = connection.alias
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            elif outer is None or alias in outer:
                busy |= {alias}
            else:
                _abandon(connection)
        except Exception:  # noqa: BLE001 - drivers raise what they like; the task ended
            logger.exception("database connection %r did not close", alias)
    return busy


def _abandon(connection: BaseDatabaseWrapper) -> None:
    text = "a task left a transaction on database %r open; it was rolled back"
    logger.error(text, connection.alias)
    # The next query makes a new connection, which knows nothing of the transaction.
    del connections[connection.alias]
    connection.close()
