"""Writing to SQLite: the lock at once, and a turnstile for those who write often."""

from __future__ import annotations

import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from pytest_django import DjangoDbBlocker

from django_q import transactions
from django_q.transactions import is_contended, writing
from tests.aliases import added_sqlite
from tests.waiting import wait_until

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="locks of POSIX systems"
)

HOLD_TURNSTILE = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def make_alias(django_db_blocker: DjangoDbBlocker) -> Iterator[Callable[..., str]]:
    """Makes an SQLite database known to Django, and forgets it in the end."""
    with django_db_blocker.unblock(), ExitStack() as stack:
        yield lambda *names, **options: stack.enter_context(
            added_sqlite(*names, for_threads=True, **options)
        )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE notes (text)")
    return file


@pytest.fixture
def alias(make_alias: Callable[..., str], file: Path) -> str:
    return make_alias(str(file))


@pytest.fixture
def outsider(file: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else who uses the same database."""
    connection = sqlite3.connect(
        file, timeout=0, isolation_level=None, check_same_thread=False
    )
    yield connection
    connection.close()


def turnstile_of(file: Path) -> Path:
    return file.with_name(file.name + "-turnstile")


def write(alias: str, text: str = "x") -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (%s)", [text])


def count(database: sqlite3.Connection) -> int:
    [number] = database.execute("SELECT COUNT(*) FROM notes").fetchone()
    return int(number)


@pytest.mark.parametrize("patient", [False, True])
def test_write_lock_is_taken_at_the_beginning(
    alias: str, outsider: sqlite3.Connection, patient: bool
):
    with (
        writing(alias, patient=patient),
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        outsider.execute("BEGIN IMMEDIATE")
    outsider.execute("BEGIN IMMEDIATE")


def test_transactions_of_others_begin_as_they_did(alias: str, outsider: Any):
    with writing(alias):
        write(alias)
    with transaction.atomic(using=alias):
        outsider.execute("INSERT INTO notes VALUES ('in between')")
    assert count(outsider) == 2


@pytest.mark.parametrize("patient", [False, True])
def test_what_was_written_is_there_afterwards(alias: str, outsider: Any, patient: bool):
    with writing(alias, patient=patient):
        write(alias)
        assert count(outsider) == 0
    assert count(outsider) == 1


@pytest.mark.parametrize("patient", [False, True])
def test_error_undoes_everything(alias: str, outsider: Any, patient: bool):
    def fail() -> None:
        with writing(alias, patient=patient):
            write(alias)
            message = "on purpose"
            raise LookupError(message)

    with pytest.raises(LookupError):
        fail()
    assert count(outsider) == 0
    with writing(alias, patient=patient):
        write(alias)
    assert count(outsider) == 1


def test_callers_transaction_is_joined(alias: str, outsider: Any, file: Path):
    with transaction.atomic(using=alias):
        with writing(alias, patient=True):
            write(alias)
        transaction.set_rollback(True, using=alias)
    assert count(outsider) == 0
    # The turnstile inside a transaction: two of us could wait for each other.
    assert not turnstile_of(file).exists()


def test_what_waits_for_the_commit_runs_after_it(alias: str, outsider: Any):
    seen: list[int] = []
    with writing(alias, patient=True):
        write(alias)
        transaction.on_commit(lambda: seen.append(count(outsider)), using=alias)
    assert seen == [1]


def test_database_in_memory_needs_no_turnstile(
    make_alias: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    alias = make_alias(":memory:")
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TABLE notes (text)")
    with writing(alias, patient=True):
        write(alias)
    assert list(tmp_path.iterdir()) == []


def test_database_may_be_named_by_its_address(
    make_alias: Callable[..., str], file: Path, outsider: Any
):
    alias = make_alias(f"file:{file}?mode=rw", uri=True)
    with writing(alias, patient=True):
        write(alias)
    assert count(outsider) == 1
    assert turnstile_of(file).exists()


def test_turnstile_that_cannot_be_made_is_done_without(
    alias: str, file: Path, outsider: Any
):
    turnstile_of(file).mkdir()
    with writing(alias, patient=True):
        write(alias)
    assert count(outsider) == 1


# -- pauses


def test_others_have_a_pause_after_each_patient_write(alias: str):
    with writing(alias, patient=True):
        write(alias)
    ended = time.monotonic()
    with writing(alias, patient=True):
        assert time.monotonic() - ended >= 0.0015


def test_pause_is_half_as_long_as_the_write_took(alias: str):
    with writing(alias, patient=True):
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 0.1)
        ended = time.monotonic()
    with writing(alias, patient=True):
        assert time.monotonic() - ended >= 0.045


def commit_slowly(alias: str, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Write for a tenth of a second, then commit for at least as long. Gives the moment
    when it began, and that until which others have a pause.
    """
    connection: Any = connections[alias]
    commit, moments = connection.commit, [time.monotonic()]

    def as_long_again() -> None:
        commit()
        moments.append(time.monotonic())
        wait_until(lambda: time.monotonic() - moments[1] > moments[1] - moments[0])

    monkeypatch.setattr(connection, "commit", as_long_again)
    with writing(alias, patient=True):
        write(alias)
        wait_until(lambda: time.monotonic() - moments[0] > 0.1)
    file = Path(connection.settings_dict["NAME"])
    [until] = struct.unpack("d", turnstile_of(file).read_bytes())
    return moments[0], until


def test_commit_that_copies_from_the_log_is_part_of_the_pause(
    alias: str, monkeypatch: pytest.MonkeyPatch
):
    _, until = commit_slowly(alias, monkeypatch)
    assert until <= time.monotonic() + transactions.SHORTEST_REST


def test_commit_without_a_log_keeps_others_out(
    alias: str, outsider: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
):
    outsider.execute("PRAGMA journal_mode = DELETE")
    began, until = commit_slowly(alias, monkeypatch)
    assert until >= began + 0.3


def test_others_do_not_wait_for_the_pause(alias: str, outsider: Any):
    with writing(alias, patient=True):
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 0.1)
    outsider.execute("INSERT INTO notes VALUES ('at once')")
    with writing(alias):
        write(alias)
    assert count(outsider) == 2


def test_pause_from_before_the_machine_started_is_ignored(
    alias: str, file: Path, outsider: Any
):
    turnstile_of(file).write_bytes(struct.pack("d", time.monotonic() + 10_000))
    with writing(alias, patient=True):
        write(alias)
    assert count(outsider) == 1


# -- waiting


def test_patient_writer_asks_again_and_again_for_the_lock(
    alias: str, outsider: Any, monkeypatch: pytest.MonkeyPatch
):
    """SQLite's own pauses would grow up to 100 ms."""
    outsider.execute("BEGIN IMMEDIATE")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            outsider.execute("ROLLBACK")

    monkeypatch.setattr(transactions, "sleep", pause)
    with writing(alias, patient=True):
        assert pauses == [transactions.TRY_EVERY] * 20


@pytest.mark.parametrize("patient", [False, True])
def test_waiting_ends_with_the_timeout(
    make_alias: Callable[..., str], file: Path, outsider: Any, patient: bool
):
    alias = make_alias(str(file), timeout=0.1)
    outsider.execute("BEGIN IMMEDIATE")
    with (
        pytest.raises(OperationalError, match="locked"),
        writing(alias, patient=patient),
    ):
        pytest.fail("the lock is not free")
    outsider.execute("ROLLBACK")
    with writing(alias, patient=patient):
        write(alias)
    assert count(outsider) == 1


def test_timeout_stays_what_it_was(alias: str):
    with writing(alias, patient=True):
        write(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (1000,)


@pytest.fixture
def holder(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the turnstile."""
    command = [sys.executable, "-c", HOLD_TURNSTILE, str(turnstile_of(file))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_turnstile_of_a_killed_process_is_free(
    alias: str, holder: subprocess.Popen[bytes]
):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    began = time.monotonic()
    with writing(alias, patient=True):
        write(alias)
    assert time.monotonic() - began < 0.9


def test_nobody_waits_for_ever_at_the_turnstile(
    make_alias: Callable[..., str], file: Path, outsider: Any, holder: Any
):
    alias = make_alias(str(file), timeout=0.2)
    began = time.monotonic()
    with writing(alias, patient=True):
        write(alias)
    assert 0.05 < time.monotonic() - began < 5
    assert count(outsider) == 1


# -- looking without waiting


def test_turnstile_is_contended_while_somebody_has_it(
    alias: str, holder: subprocess.Popen[bytes]
):
    assert is_contended(alias)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_contended(alias)


def test_turnstile_is_contended_in_the_pause_after_a_write(alias: str):
    assert not is_contended(alias)
    with writing(alias, patient=True):
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 0.2)
    assert is_contended(alias)
    wait_until(lambda: not is_contended(alias))


def test_to_look_keeps_nobody_waiting(
    alias: str, file: Path, monkeypatch: pytest.MonkeyPatch
):
    with writing(alias, patient=True):
        write(alias)
    wait_until(lambda: not is_contended(alias))
    before = turnstile_of(file).read_bytes()
    assert not is_contended(alias)
    assert turnstile_of(file).read_bytes() == before
    monkeypatch.setattr(transactions, "sleep", lambda _pause: pytest.fail("it waits"))
    with writing(alias, patient=True):
        write(alias)


def test_what_has_no_turnstile_is_not_contended(
    make_alias: Callable[..., str],
    alias: str,
    holder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    assert is_contended(alias)
    assert not is_contended(None)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert not is_contended(make_alias(":memory:"))
    assert list(empty.iterdir()) == []
    with monkeypatch.context() as other:
        other.setattr(connections[alias], "vendor", "postgresql")
        assert not is_contended(alias)


def test_turnstile_that_cannot_be_made_is_not_contended(alias: str, file: Path):
    turnstile_of(file).mkdir()
    assert not is_contended(alias)


def test_turnstile_and_lock_together_are_not_waited_for_longer(
    make_alias: Callable[..., str], file: Path, outsider: Any, holder: Any
):
    alias = make_alias(str(file), timeout=1)
    outsider.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with (
        pytest.raises(OperationalError, match="locked"),
        writing(alias, patient=True),
    ):
        pytest.fail("the lock is not free")
    assert time.monotonic() - began < 1.9


def test_all_writers_get_their_turn(file: Path, make_alias: Callable[..., str]):
    """Three patient ones in a hurry, and a user's task that pauses between its writes."""
    alias = make_alias(str(file), timeout=5)
    longest = dict.fromkeys(("pusher", "monitor", "housekeeper", "task"), 0.0)
    written = dict.fromkeys(longest, 0)
    until = time.monotonic() + 1.0

    def work(name: str) -> None:
        while (asked := time.monotonic()) < until:
            with writing(alias, patient=name != "task"):
                longest[name] = max(longest[name], time.monotonic() - asked)
                for _ in range(100):
                    write(alias, name)
            written[name] += 1
            if name == "task":
                time.sleep(0.005)
        connections[alias].close()

    threads = [threading.Thread(target=work, args=(name,)) for name in longest]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(written.values()) >= 5, written
    assert max(longest.values()) < 0.9, longest
