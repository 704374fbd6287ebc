"""What all tests share: the database, the options, the environment of children."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import TransactionTestCase

from tests.redis_servers import RedisClusterServer, RedisWithTls, WatchedRedis
from tests.servers import RedisServer, ServerFailed, SqsServer


def pytest_configure() -> None:
    """Processes that a test starts before there is a database share one place too."""
    test = connection.settings_dict["TEST"]
    if connection.vendor == "sqlite":
        os.environ["QTEST_DATABASE_NAME"] = str(test["NAME"])


def pytest_unconfigure() -> None:
    """Leave nothing behind: SQLite has up to four files."""
    name = os.environ.pop("QTEST_DATABASE_NAME", "")
    if name and connection.vendor == "sqlite":
        for suffix in ("", "-wal", "-shm", "-turnstile"):
            Path(name + suffix).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None,  # the plug-in's own, which makes the database
) -> None:
    """Tell every process that a test starts where this run's database is."""
    os.environ["QTEST_DATABASE_NAME"] = str(connection.settings_dict["NAME"])


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """PostgreSQL drops no database while a session of a killed process is still there.

    It need not: the server is private to this run, and thrown away with all it has.
    """
    return connection.vendor == "postgresql"


@pytest.fixture
def task_log(tmp_path: Path) -> str:
    """A file for the tasks of tests/functions.py that say what they did."""
    return str(tmp_path / "tasks.log")


@pytest.fixture
def q_settings(settings: Any) -> Any:
    """Change single entries of Q_CLUSTER: q_settings(timeout=3)."""

    def change(**entries: Any) -> None:
        settings.Q_CLUSTER = {**settings.Q_CLUSTER, **entries}

    return change


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A private Redis for this run; tests that need one are skipped where it lacks."""
    if RedisServer.programs() is None:
        pytest.skip(f"sudo apt install {' '.join(RedisServer.packages)}")
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(redis_server: RedisServer) -> Iterator[RedisClusterServer]:
    """Three nodes of a Redis Cluster."""
    with RedisClusterServer() as nodes:
        yield nodes


@pytest.fixture(scope="module")
def watched_redis(redis_server: RedisServer) -> Iterator[WatchedRedis]:
    """A Redis with a replica and a Sentinel. Of each module its own, after a failover."""
    with WatchedRedis() as servers:
        yield servers


@pytest.fixture(scope="session")
def redis_with_tls(redis_server: RedisServer) -> Iterator[RedisWithTls]:
    """A Redis that asks for a certificate."""
    try:
        server = RedisWithTls(within=10).start()
    except ServerFailed as failure:
        lacks_tls = re.search("Bad directive|TLS support", str(failure))
        if not lacks_tls or "REDIS_SERVER" not in os.environ:
            raise
        pytest.skip("this redis-server was built without TLS")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sqs_server() -> Iterator[SqsServer]:
    """A private Amazon SQS for this run; tests that need one are skipped where it lacks."""
    if SqsServer.programs() is None:
        pytest.skip(SqsServer.remedy)
    with SqsServer() as server:
        yield server


DATABASE_FIXTURES = frozenset({"db", "django_db_setup", "transactional_db"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the database: it runs again on each other one."""
    for item in items:
        if uses_database(item):
            item.add_marker("database")


def uses_database(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    if item.get_closest_marker("django_db") or DATABASE_FIXTURES.intersection(fixtures):
        return True
    holder = getattr(item, "cls", None)
    return holder is not None and issubclass(holder, TransactionTestCase)
