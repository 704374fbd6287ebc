"""Writing: one transaction, begun so that SQLite neither refuses nor starves anybody."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

if sys.platform == "win32":
    import msvcrt

    TRY_EVERY: Final = 0.005
else:
    import fcntl

    TRY_EVERY: Final = 0.001

REST: Final = 0.5
"""Part of a write's length that our writers leave to others after it."""

SHORTEST_REST: Final = 0.002
"""Seconds; no rest is shorter."""

LONGEST_REST: Final = 1.0
"""No rest is longer, so a longer one is a leftover from before the machine started."""

HABITS: Final = (
    "SELECT timeout, journal_mode FROM pragma_busy_timeout, pragma_journal_mode"
)
"""Of a connection to SQLite, in one question."""

LOCK_BYTE: Final = 64
"""Windows locks bytes, and forbids others to read them: lock one behind the time."""


@contextmanager
def writing(alias: str, *, patient: bool = False) -> Iterator[None]:
    """One transaction on the database `alias`; joins the caller's where there is one.

    On SQLite it takes the write lock at its beginning: a transaction that reads first
    and wants to write later fails at once, however long the timeout is. `patient` is
    for processes that write again and again: they queue up at a turnstile beside the
    database and leave pauses in which everybody else gets in.
    """
    connection = connections[alias]
    freshen(connection)
    if connection.in_atomic_block or connection.vendor != "sqlite":
        with transaction.atomic(using=alias, savepoint=False):
            yield
        return
    patience = Patience(*_habits_of(connection)) if patient else None
    with Turnstile(connection) as turnstile, ExitStack() as stack:
        if patience is not None:
            turnstile.enter(limit=patience.rest / 2)
        stack.push(_begin_at_once(connection, patience))
        turnstile.begin()
        yield
        if patience is not None and patience.has_log:
            turnstile.end()


def is_contended(alias: str | None) -> bool:
    """Whether a patient writer would have to queue up now; only SQLite's do."""
    connection = connections[alias] if alias else None
    if connection is None or connection.vendor != "sqlite":
        return False
    with Turnstile(connection) as turnstile:
        return not turnstile.is_free()


def freshen(connection: BaseDatabaseWrapper) -> None:
    """Close a connection that is dead or too old; the next query opens another one.

    With CONN_MAX_AGE = 0 every connection counts as too old at once: between requests it
    is closed anyway, and elsewhere it should live. So Django is asked only after an
    error, or after a real age: asking each time would also bring a health check each
    time, where the project wants them.
    """
    if not connection.in_atomic_block and _is_doubtful(connection):
        connection.close_if_unusable_or_obsolete()


def _is_doubtful(connection: BaseDatabaseWrapper) -> bool:
    if connection.errors_occurred:
        return True
    may_age = bool(connection.settings_dict["CONN_MAX_AGE"])
    close_at = connection.close_at
    return may_age and close_at is not None and monotonic() >= close_at


class Patience:
    """How long a writer waits in all: at the turnstile, and for the lock of SQLite."""

    def __init__(self, seconds: float, has_log: bool) -> None:
        self.seconds = seconds
        self.has_log = has_log
        self._end = monotonic() + seconds

    @property
    def rest(self) -> float:
        return max(0.0, self._end - monotonic())


class Turnstile:
    """Lets the writers of one SQLite database through one at a time.

    A file beside the database: its lock says that one of us writes, its content until
    when the next of us has to wait. The system frees the lock of a process that dies,
    and whoever waits too long goes past it: it is politeness, nothing rests on it.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._file: int | None = None
        self._begun: float | None = None
        self._ended: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._file is None:
            return
        try:
            self._write_rest()
        finally:
            # Closing the file frees its lock.
            os.close(self._file)

    def enter(self, *, limit: float) -> None:
        """Wait until it is our turn, but no longer than `limit` seconds."""
        # A folder or a system that knows no such lock, or no file: we do without.
        with suppress(OSError):
            self._wait(self._open(), monotonic() + limit)

    def is_free(self) -> bool:
        """Whether it would be our turn at once."""
        with suppress(OSError):
            return not self._try_once(self._open())
        return True

    def begin(self) -> None:
        """The writing begins: the longer it takes, the longer the rest after it."""
        self._begun = monotonic()

    def end(self) -> None:
        """The writing ends, and the rest begins: while a commit copies from the
        write-ahead log into the database, others can write.
        """
        self._ended = monotonic()

    def _open(self) -> int:
        """Raises OSError also where there is no file, as for a database in memory."""
        self._file = _open_beside(_file_of(self._connection), "-turnstile")
        return self._file

    def _wait(self, file: int, deadline: float) -> None:
        while monotonic() < deadline:
            if not (pause := self._try_once(file)):
                return
            sleep(pause)

    def _try_once(self, file: int) -> float:
        """Seconds until the next try; 0: it is our turn."""
        if not _try_to_lock(file):
            return TRY_EVERY
        rest = self._read_rest(file)
        if rest:
            # Everybody waits for the end of the rest with the same right, so that the
            # last writer isn't always the next one.
            _unlock(file)
        return rest

    def _read_rest(self, file: int) -> float:
        os.lseek(file, 0, os.SEEK_SET)
        content = os.read(file, 8)
        if len(content) < 8:
            return 0.0
        rest: float = struct.unpack("d", content)[0] - monotonic()
        return rest if 0 < rest <= LONGEST_REST else 0.0

    def _write_rest(self) -> None:
        if self._file is None or self._begun is None:
            return
        now = monotonic()
        ended = self._ended or now
        rest = min((ended - self._begun) * REST, LONGEST_REST)
        until = max(ended + rest, now + SHORTEST_REST)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, struct.pack("d", until))


def _begin_at_once(
    connection: BaseDatabaseWrapper, patience: Patience | None
) -> transaction.Atomic:
    """A transaction that has the write lock already."""
    connection.ensure_connection()
    block = transaction.atomic(using=connection.alias)
    if patience is None:
        _begin(connection, block)
    else:
        _begin_patiently(connection, block, patience)
    return block


def _begin(connection: Any, block: transaction.Atomic) -> None:
    usual = connection.transaction_mode
    connection.transaction_mode = "IMMEDIATE"
    try:
        block.__enter__()
    finally:
        connection.transaction_mode = usual


def _begin_patiently(
    connection: Any, block: transaction.Atomic, patience: Patience
) -> None:
    """Ask for the lock every millisecond: SQLite's own pauses grow up to 100 ms."""
    usual = connection.errors_occurred
    _set_busy_timeout(connection, 0)
    try:
        while not _has_begun(connection, block, last=not patience.rest):
            sleep(TRY_EVERY)
        connection.errors_occurred = usual
    finally:
        _set_busy_timeout(connection, patience.seconds)


def _has_begun(connection: Any, block: transaction.Atomic, *, last: bool) -> bool:
    try:
        _begin(connection, block)
    except OperationalError as error:
        if last or "locked" not in str(error):
            raise
        return False
    return True


def _habits_of(connection: BaseDatabaseWrapper) -> tuple[float, bool]:
    """Seconds that it waits for a lock, and whether it has a write-ahead log."""
    with connection.cursor() as cursor:
        cursor.execute(HABITS)
        milliseconds, journal = cursor.fetchone()
    return milliseconds / 1000, journal == "wal"


def _set_busy_timeout(connection: BaseDatabaseWrapper, seconds: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
        cursor.fetchone()


def _open_beside(database: str, ending: str) -> int:
    """Open a file for those who may write the database, and for nobody else.

    As SQLite does with its own. A link that somebody put there is not followed.
    """
    flags = os.O_RDWR | os.O_CREAT
    for flag in ("O_CLOEXEC", "O_NOFOLLOW"):
        flags |= getattr(os, flag, 0)
    return os.open(database + ending, flags, Path(database).stat().st_mode & 0o666)


def _file_of(connection: BaseDatabaseWrapper) -> str:
    name = str(connection.settings_dict["NAME"])
    return unquote(urlsplit(name).path) if name.startswith("file:") else name


if sys.platform == "win32":

    def _try_to_lock(file: int) -> bool:
        os.lseek(file, LOCK_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: int) -> None:
        os.lseek(file, LOCK_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:

    def _try_to_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)
