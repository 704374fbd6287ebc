"""News: how a waiting cluster learns that a package may have come to a database."""

from __future__ import annotations

import os
import select
import sqlite3
import sys
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_q.brokers.file_watch import FileWatch
from django_q.logs import logger

SHORTEST_PULSE: Final = 0.001
"""Seconds between two looks at the version of an SQLite database, right after the system
told that somebody writes to it.
"""

PULSE: Final = 0.005
"""The same where the system does not tell: microseconds each."""

LAZY_PULSE: Final = 0.01
"""The same when nothing was written for a while."""

LAZY_AFTER: Final = 2.0

SLOW_PULSE: Final = 1.0
"""The longest pause between two looks where the system tells."""

SELDOM: Final = 9
"""How much longer pauses are when a commit has been seen since the last write."""

CALLED_PULSE: Final = 5.0
"""Seconds between two looks where we are called."""

PROBE_TIMEOUT: Final = 1.0
LONGEST_PAUSE: Final = 30.0

TROUBLE: Final = (DatabaseError, InterfaceError, OSError)


class News:
    """Knows nothing, so that there may be news at each look: every `poll` seconds."""

    may_miss = True
    """Not everybody who queues something makes news of it."""

    def __init__(self, poll: float) -> None:
        self.poll = poll
        self._next_look = 0.0

    def fd(self) -> int | None:
        """A descriptor that becomes readable with news."""
        return None

    def pulse(self) -> float:
        """Seconds between two looks."""
        return self.poll

    def has_any(self) -> bool:
        """Whether there may be news since the last look."""
        now = monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + self.poll
        return True

    def close(self) -> None:
        """Close what is open; the next look opens it anew."""


class SQLiteNews(News):
    """Asks SQLite whether another connection has written: a look into shared memory.

    Where the system tells when somebody writes to the files, it is asked after that: at
    once, and then ever more seldom, because what is written is not committed yet. When
    something was committed of which the system has not told, it is asked all the time.
    """

    may_miss = False

    def __init__(self, connection: BaseDatabaseWrapper, poll: float) -> None:
        super().__init__(poll)
        self._private = private_copy(connection)
        self._version = -1
        self._stirred = 0.0
        self._watch: FileWatch | None = None
        self._can_watch = True
        self._has_rung = False
        """Since the last commit that was seen."""

        self._has_come = False
        """A commit, since the last write."""

    def fd(self) -> int | None:
        with suppress(sqlite3.Error, *TROUBLE):
            self._open()
        return None if self._watch is None else self._watch.fileno()

    def pulse(self) -> float:
        quiet = monotonic() - self._stirred
        if self._watch is not None:
            # Behind what has come there is seldom more that was written meanwhile.
            pause = quiet * SELDOM if self._has_come else quiet
            return min(max(SHORTEST_PULSE, pause), SLOW_PULSE)
        return LAZY_PULSE if quiet > LAZY_AFTER else PULSE

    def has_any(self) -> bool:
        try:
            self._open()
            was_told = self._was_told()
            version = self._read_version()
        except (sqlite3.Error, *TROUBLE):
            # The verb that follows will say what is wrong with the database.
            self.close()
            return super().has_any()
        seen, self._version = self._version, version
        if seen == version:
            return False
        if seen >= 0 and not (was_told or self._was_told()):
            self._can_watch = False
            self._stop_watching()
        if self._watch is None:
            self._stirred = monotonic()
        self._has_rung, self._has_come = False, True
        return True

    def close(self) -> None:
        self._stop_watching()
        self._private.close()
        self._version = -1

    def _open(self) -> None:
        if self._private.connection is not None:
            return
        self._private.connect()
        # Whoever reads first makes the file that is to be watched beside the other.
        self._read_version()
        if self._can_watch:
            name = str(self._private.settings_dict["NAME"])
            files = [name, *filter(os.path.exists, [f"{name}-wal"])]
            with suppress(OSError):
                self._watch = FileWatch(files)

    def _read_version(self) -> int:
        # Past Django's cursor: no logging, no wrapping, two hundred times a second.
        raw: Any = self._private.connection
        [version] = raw.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _was_told(self) -> bool:
        """Whether the system has told of a write: since the last commit, or so shortly
        before that it may have been another one.
        """
        if self._watch is not None and self._watch.has_rung():
            self._stirred, self._has_rung, self._has_come = monotonic(), True, False
        is_recent = monotonic() - self._stirred < SLOW_PULSE
        return self._watch is None or self._has_rung or is_recent

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None


class PostgresNews(News):
    """PostgreSQL calls, on a connection of its own that only listens.

    Where that can't work (psycopg2, or a pooler that hands connections round) a look
    may bring news at any time, as in any other database.
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, channel: str, poll: float
    ) -> None:
        super().__init__(poll)
        self._connection = connection
        self._channel = channel
        self._listening: Any = None
        self._is_useless = False
        self._pause = 1.0
        self._next_try = 0.0

    def fd(self) -> int | None:
        self._ensure()
        return None if self._listening is None else self._listening.connection.fileno()

    def pulse(self) -> float:
        return super().pulse() if self._listening is None else CALLED_PULSE

    def has_any(self) -> bool:
        self._ensure()
        if self._listening is None:
            return super().has_any()
        try:
            return self._receive()
        except TROUBLE:
            self._lose()
        except Exception as error:
            # The driver's own errors: we go past Django, which would wrap them.
            if type(error).__module__.partition(".")[0] != "psycopg":
                raise
            self._lose()
        return True

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _receive(self) -> bool:
        raw = self._listening.connection.pgconn
        raw.consume_input()
        called = False
        while raw.notifies() is not None:
            called = True
        return called

    def _ensure(self) -> None:
        if self._listening is not None or self._is_useless:
            return
        if monotonic() < self._next_try or self._connection.in_atomic_block:
            return
        try:
            self._listen()
        except TROUBLE:
            self._lose()

    def _listen(self) -> None:
        listening = private_copy(self._connection)
        self._listening = listening
        with listening.cursor() as cursor:
            cursor.execute(f"LISTEN {self._channel}")
        self._pause = 1.0
        if not hasattr(listening.connection, "pgconn") or not self._hears():
            self._is_useless = True
            self.close()
            text = "database %r can't call (a pooler?): looking every %s s instead"
            logger.info(text, self._connection.alias, self.poll)

    def _hears(self) -> bool:
        """Whether a call that goes out on the other connection arrives on this one."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", (self._channel,))
        deadline = monotonic() + PROBE_TIMEOUT
        while (rest := deadline - monotonic()) > 0:
            select.select([self._listening.connection.fileno()], [], [], rest)
            if self._receive():
                return True
        return False

    def _lose(self) -> None:
        self.close()
        self._next_try = monotonic() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


def private_copy(connection: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """Another connection to the same database, outside any pool and any transaction."""
    private = connection.copy()
    private.settings_dict["OPTIONS"].pop("pool", None)
    private.settings_dict["AUTOCOMMIT"] = True
    return private


def can_call(connection: Any) -> bool:
    """Whether the database, or the system for it, can tell of news."""
    if connection.vendor == "sqlite":
        return sys.platform == "linux" and not connection.is_in_memory_db()
    return bool(connection.vendor == "postgresql")


def open_news(alias: str, channel: str, poll: float) -> News:
    """The best way to learn of news that this database has."""
    connection: Any = connections[alias]
    if connection.vendor == "postgresql":
        return PostgresNews(connection, channel, poll)
    if connection.vendor == "sqlite" and not connection.is_in_memory_db():
        return SQLiteNews(connection, poll)
    return News(poll)
