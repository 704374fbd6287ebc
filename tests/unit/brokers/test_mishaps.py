"""What is tried again, and what is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from django.db import IntegrityError, InterfaceError, OperationalError, ProgrammingError

from django_q.brokers.mishaps import Mishap, attempt, judge
from django_q.exceptions import BrokerError, BrokerUnavailable


class Connection:
    """As much of a connection as a mishap touches."""

    alias = "queues"
    settings_dict: ClassVar = {"HOST": "db.internal", "PORT": 5432, "NAME": "shop"}

    def __init__(self, *, in_atomic_block: bool = False) -> None:
        self.in_atomic_block = in_atomic_block
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Reported(Exception):
    """An error as drivers of PostgreSQL raise it."""

    __module__ = "psycopg.errors"

    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


def postgres(
    sqlstate: str | None, kind: type[Exception] = OperationalError
) -> Exception:
    error = kind("as told by the server")
    error.__cause__ = Reported(sqlstate)
    return error


DEADLOCKS = (
    postgres("40P01"),
    postgres("40001"),
    OperationalError(1213, "Deadlock found when trying to get lock"),
    OperationalError(1020, "Record has changed since last read"),
)
LOST = (
    postgres(None),
    postgres("57P01"),
    postgres("08006"),
    InterfaceError("connection already closed"),
    OperationalError(2006, "Server has gone away"),
    OperationalError(2013, "Lost connection to server during query"),
)
NO_TABLE = (
    postgres("42P01", ProgrammingError),
    ProgrammingError(1146, "Table 'x.django_q_ormq' doesn't exist"),
    OperationalError("no such table: django_q_ormq"),
    OperationalError("no such column: holder"),
    OperationalError("table django_q_ormq has no column named task_id"),
)
FORBIDDEN = (
    postgres("28P01"),
    postgres("42501", ProgrammingError),
    OperationalError('FATAL:  password authentication failed for user "shop"'),
    OperationalError("attempt to write a readonly database"),
    OperationalError(1045, "Access denied for user 'shop'@'10.0.0.1'"),
    OperationalError(1142, "INSERT command denied to user 'shop'@'10.0.0.1'"),
)
OTHER = (
    OperationalError("database is locked"),
    OperationalError("database or disk is full"),
    OperationalError(1205, "Lock wait timeout exceeded"),
    postgres("53100"),
)


def failing(*errors: Exception) -> tuple[Callable[[], int], list[int]]:
    """Work that fails like this, then succeeds; and the list of its tries."""
    tries: list[int] = []

    def work() -> int:
        tries.append(len(tries))
        if len(tries) <= len(errors):
            raise errors[len(tries) - 1]
        return 7

    return work, tries


def run(work: Callable[[], int], connection: Any = None, **named: bool) -> int:
    chosen: Any = connection or Connection()
    return attempt(chosen, work, **named)


@pytest.mark.parametrize(
    ("mishap", "errors"),
    [
        (Mishap.DEADLOCK, DEADLOCKS),
        (Mishap.LOST, LOST),
        (Mishap.NO_TABLE, NO_TABLE),
        (Mishap.FORBIDDEN, FORBIDDEN),
        (Mishap.OTHER, OTHER),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_errors_of_all_databases_are_understood(
    mishap: Mishap, errors: tuple[Any, ...]
):
    assert [judge(error) for error in errors] == [mishap] * len(errors)


@pytest.mark.parametrize("error", DEADLOCKS)
def test_deadlock_is_tried_again(error: Exception):
    work, tries = failing(error, error, error)
    assert run(work) == 7
    assert len(tries) == 4


def test_deadlocks_without_end_are_told():
    work, tries = failing(*DEADLOCKS, *DEADLOCKS)
    with pytest.raises(BrokerUnavailable, match="'queues'"):
        run(work)
    assert len(tries) == 4


@pytest.mark.parametrize("error", LOST)
def test_lost_connection_is_closed_and_told(error: Exception):
    work, tries = failing(error)
    connection = Connection()
    with pytest.raises(BrokerUnavailable, match="can't be used") as caught:
        run(work, connection)
    assert "'queues' (db.internal:5432/shop)" in str(caught.value)
    assert "Check DATABASES['queues']" in str(caught.value)
    assert (len(tries), connection.closed) == (1, 1)


@pytest.mark.parametrize("error", FORBIDDEN)
def test_missing_right_is_told_with_the_setting(error: Exception):
    work, _ = failing(error)
    with pytest.raises(BrokerUnavailable, match=r"USER .* in DATABASES\['queues'\]"):
        run(work)


def test_what_may_be_repeated_is_repeated_once_after_a_lost_connection():
    work, _ = failing(LOST[0])
    assert run(work, twice=True) == 7
    work, tries = failing(*LOST)
    with pytest.raises(BrokerUnavailable):
        run(work, twice=True)
    assert len(tries) == 2


@pytest.mark.parametrize("error", NO_TABLE)
def test_missing_tables_come_with_advice(error: Exception):
    work, _ = failing(error)
    with pytest.raises(BrokerError, match=r"manage\.py migrate") as caught:
        run(work)
    assert not isinstance(caught.value, BrokerUnavailable)


@pytest.mark.parametrize("error", OTHER)
def test_other_errors_of_the_database_are_told_with_its_own_words(error: Exception):
    work, tries = failing(error)
    with pytest.raises(BrokerUnavailable, match=str(error.args[-1])):
        run(work)
    assert len(tries) == 1


@pytest.mark.parametrize(
    "error", [ProgrammingError("syntax"), IntegrityError("x"), ZeroDivisionError()]
)
def test_mistakes_stay_what_they_are(error: Exception):
    work, _ = failing(error)
    with pytest.raises(type(error)):
        run(work)


@pytest.mark.parametrize("error", [DEADLOCKS[0], LOST[0], NO_TABLE[0]])
def test_inside_the_callers_transaction_errors_are_the_callers(error: Exception):
    work, tries = failing(error)
    connection = Connection(in_atomic_block=True)
    with pytest.raises(type(error)):
        run(work, connection, twice=True)
    assert (len(tries), connection.closed) == (1, 0)
