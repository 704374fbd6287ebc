"""How an idle cluster learns of a commit to an SQLite file."""

from __future__ import annotations

import select
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db.utils import ConnectionHandler

from django_q.brokers.file_watch import FileWatch
from django_q.brokers.news import LAZY_PULSE, SQLiteNews
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux"),
]


@pytest.fixture(params=["wal", "delete"])
def writer(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[sqlite3.Connection]:
    """Somebody else with the same file."""
    with closing(sqlite3.connect(tmp_path / "db")) as writer:
        writer.execute(f"PRAGMA journal_mode = {request.param}")
        writer.execute("CREATE TABLE t (x)")
        yield writer


@pytest.fixture
def news(writer: sqlite3.Connection, tmp_path: Path) -> Iterator[SQLiteNews]:
    """Of a file that has been looked at."""
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    handler = ConnectionHandler({"default": settings})
    with closing(SQLiteNews(handler["default"], 0.2)) as news:
        assert news.has_any()
        assert not news.has_any()
        yield news


def is_called(news: SQLiteNews, within: float) -> bool:
    descriptor = news.fd()
    assert descriptor is not None
    return bool(select.select([descriptor], [], [], within)[0])


def write(writer: sqlite3.Connection) -> None:
    writer.execute("INSERT INTO t VALUES (1)")
    writer.commit()


def test_commit_calls(news: SQLiteNews, writer: sqlite3.Connection) -> None:
    for _ in range(3):
        assert not is_called(news, 0)
        write(writer)
        assert is_called(news, 10)
        assert news.has_any()
        assert not news.has_any()


@pytest.mark.parametrize("writer", ["wal"], indirect=True)
def test_what_was_not_committed_yet_is_looked_for_again_soon(
    news: SQLiteNews, writer: sqlite3.Connection
) -> None:
    writer.execute("PRAGMA cache_size = 1")
    writer.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 1000)
    assert is_called(news, 10)
    assert not news.has_any()
    writer.commit()
    wait_until(news.has_any)


def test_file_of_whose_writes_the_system_does_not_tell_is_looked_at_all_the_time(
    news: SQLiteNews, writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileWatch, "has_rung", lambda _watch: False)
    news.close()
    assert news.has_any()
    write(writer)
    assert news.has_any()
    assert news.fd() is None
    assert news.pulse() <= LAZY_PULSE
    write(writer)
    assert news.has_any()
    assert not news.has_any()


def test_system_that_allows_no_watch(
    news: SQLiteNews, writer: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    news.close()
    assert news.has_any()
    assert news.fd() is None
    assert news.pulse() <= LAZY_PULSE
    write(writer)
    assert news.has_any()


def test_file_that_is_not_there_cant_be_watched(tmp_path: Path) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - the system says which
        FileWatch([str(tmp_path / "none")])
