"""Mishaps: what went wrong in a database, and whether to try again or to tell."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from time import sleep
from typing import Final, NoReturn, TypeVar

from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from django.db.backends.base.base import BaseDatabaseWrapper

from django_q.exceptions import (
    BrokerError,
    BrokerUnavailable,
    DjangoQError,
    PackageTooLarge,
)
from django_q.logs import clean

Value = TypeVar("Value")

PAUSES: Final = (0.005, 0.02, 0.08)
"""Seconds before each new try of a statement that fell victim to a deadlock."""

DEADLOCKS: Final = frozenset({"40001", "40P01", 1213, 1020})
LOST: Final = frozenset({2002, 2003, 2006, 2013, 2055, 1053, 1077, 1079, 1927, 4031})
NO_TABLE: Final = frozenset({"42P01", "42703", 1146, 1054})
FORBIDDEN: Final = frozenset(
    {"28000", "28P01", "42501", 1044, 1045, 1142, 1143, 1227, 1698}
)
"""SQLSTATEs of PostgreSQL and numbers of MySQL and MariaDB."""

TOO_LARGE: Final = 1153

REFUSALS: Final = ("authentication failed", "readonly database")
"""The same in words, where there is no code for it."""

ADVICE: Final = "Check DATABASES[{alias!r}], and that its server runs and lets us in."
ADVICE_ON_RIGHTS: Final = (
    "Check USER and PASSWORD in DATABASES[{alias!r}], and that this user may read and write"
    " the tables of django_q."
)


class Mishap(enum.Enum):
    """What an error of a database means for a queue."""

    DEADLOCK = enum.auto()
    LOST = enum.auto()
    """The connection is gone."""

    NO_TABLE = enum.auto()
    FORBIDDEN = enum.auto()
    """The server does not know us, or does not allow it."""

    OTHER = enum.auto()


PASSING: Final = frozenset({Mishap.DEADLOCK, Mishap.LOST})
"""After these, the same may be done again."""


def attempt(
    connection: BaseDatabaseWrapper, work: Callable[[], Value], *, twice: bool = False
) -> Value:
    """The value of `work()`, tried again after a deadlock.

    With `twice` also once after a lost connection: only for work that may be repeated
    although it was perhaps done. Inside the caller's transaction nothing is tried again
    and errors stay Django's: the caller's whole transaction is to be repeated. Raises
    BrokerUnavailable, or BrokerError when the tables are missing.
    """
    if connection.in_atomic_block:
        return work()
    for pause in (*PAUSES, None):
        try:
            return work()
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            mishap = judge(error)
            if mishap is Mishap.LOST:
                connection.close()
            if mishap is Mishap.LOST and twice:
                twice = False
            elif mishap is Mishap.DEADLOCK and pause is not None:
                # Not all at the same moment: they would collide again.
                sleep(random.uniform(pause / 2, pause))  # noqa: S311
            else:
                raise_told(error, connection)
    raise AssertionError


def judge(error: DatabaseError | InterfaceError) -> Mishap:
    """What this error means."""
    code = _code_of(error)
    if code in DEADLOCKS:
        return Mishap.DEADLOCK
    if code in NO_TABLE or "no such" in str(error) or "has no column" in str(error):
        return Mishap.NO_TABLE
    if code in FORBIDDEN or any(words in str(error) for words in REFUSALS):
        return Mishap.FORBIDDEN
    if _is_lost(error, code):
        return Mishap.LOST
    return Mishap.OTHER


def raise_told(
    error: DatabaseError | InterfaceError, connection: BaseDatabaseWrapper
) -> NoReturn:
    """Raise it in words that tell what to do; as it is, where only we can do something."""
    if isinstance(error, ProgrammingError) and judge(error) is Mishap.OTHER:
        raise error
    raise told(error, connection) from error


def told(
    error: DatabaseError | InterfaceError, connection: BaseDatabaseWrapper
) -> DjangoQError:
    """The same error, in words that tell what to do."""
    alias = connection.alias
    mishap = judge(error)
    if mishap is Mishap.NO_TABLE:
        message = (
            f"The tables of django_q are not (all) in database {alias!r}: {error}."
        )
        return BrokerError(message, hint="Run: python manage.py migrate")
    if _code_of(error) == TOO_LARGE:
        return too_large(alias, clean(error))
    # Some say it in several lines.
    reason = clean(" ".join(str(error).split()) or type(error).__name__, 300)
    place = f"{alias!r} ({place_of(connection)})"
    message = f"The queue in database {place} can't be used: {reason.rstrip('.')}."
    advice = ADVICE_ON_RIGHTS if mishap is Mishap.FORBIDDEN else ADVICE
    return BrokerUnavailable(message, hint=advice.format(alias=alias))


def too_large(alias: str, reason: str) -> PackageTooLarge:
    """The error for a package that MySQL or MariaDB does not take."""
    message = f"Database {alias!r} takes no package of this size: {reason}."
    hint = "Pass a file name or an id instead, or raise max_allowed_packet."
    return PackageTooLarge(message, hint=hint)


def place_of(connection: BaseDatabaseWrapper) -> str:
    """Where a database is, without user and password: db.internal:5432/shop."""
    settings = connection.settings_dict
    host, port = settings.get("HOST"), settings.get("PORT")
    server = f"{host}:{port}" if host and port else host
    name = str(settings.get("NAME") or "")
    return clean(f"{server}/{name}" if server else name)


def _code_of(error: Exception) -> str | int | None:
    """SQLSTATE or number that the driver gave."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state:
        return str(state)
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None


def _is_lost(error: Exception, code: str | int | None) -> bool:
    if isinstance(error, InterfaceError) or code in LOST:
        return True
    if isinstance(code, str):
        return code.startswith(("08", "57P"))
    # The drivers of PostgreSQL give no SQLSTATE when the server has said nothing.
    cause = type(error.__cause__).__module__
    return isinstance(error, OperationalError) and cause.startswith("psycopg")
