"""running_cluster: starts real clusters and sees them off."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from django_q.models import (
    Attempt,
    OrmQ,
    OutboxEntry,
    Schedule,
    ScheduleNote,
    Task,
    VitalSign,
)
from tests.acceptance.harness import Diary, RunningCluster
from tests.settings import ENGINE
from tests.waiting import wait_until

Runner = Callable[..., RunningCluster]
HERE = Path(__file__).parent
MODELS = (Task, Attempt, OrmQ, OutboxEntry, Schedule, ScheduleNote, VitalSign)


def pytest_configure(config: pytest.Config) -> None:
    for text in (
        "every_database: acceptance test that also runs on PostgreSQL and MariaDB",
        "once: acceptance test for one of two Pythons, see QTEST_SQLITE_HALF",
    ):
        config.addinivalue_line("markers", text)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """On the servers, only what the database can make a difference to.

    What runs there need not run on SQLite as well with each of two Pythons: with
    QTEST_SQLITE_HALF=0 the one does one half of it, with 1 the other the rest. So it is
    with long ones about other servers.
    """
    mine = [item for item in items if item.path.is_relative_to(HERE)]
    everywhere = [i for i in mine if i.get_closest_marker("every_database")]
    left_out = set(mine).difference(everywhere)
    if ENGINE == "sqlite":
        half = os.environ.get("QTEST_SQLITE_HALF", "")
        shared = [*everywhere, *(i for i in mine if i.get_closest_marker("once"))]
        left_out = {i for i in shared if half and half_of(i) != int(half)}
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def half_of(item: pytest.Item) -> int:
    """0 or 1, whatever else is collected: a test that failed is run again alone."""
    return crc32(item.nodeid.encode()) % 2


@pytest.fixture(scope="module", autouse=True)
def db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The real database, without a transaction: clusters must see what tests write.

    Takes the place of pytest-django's, which would roll back or truncate.
    """
    with django_db_blocker.unblock():
        yield
        for model in MODELS:
            model.objects.all().delete()
        connections.close_all()


@pytest.fixture
def diary(task_log: str) -> Diary:
    return Diary(task_log)


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Runner]:
    """Make a cluster that is not started yet. The test ends well only if it does."""
    with ExitStack() as stack:

        def make(
            *arguments: str,
            kind: type[RunningCluster] = RunningCluster,
            **settings: Any,
        ) -> RunningCluster:
            cluster = kind(tmp_path, arguments, **settings)
            stack.callback(leave, cluster)
            return cluster

        yield make


@pytest.fixture
def running_cluster(new_cluster: Runner) -> Runner:
    """Start a cluster with these settings and wait until it works."""

    def run(*arguments: str, **settings: Any) -> RunningCluster:
        return new_cluster(*arguments, **settings).start().wait_until_running()

    return run


class Lodge:
    """Keeps one cluster for all tests of a module; a broken one is replaced."""

    def __init__(
        self, folder: Path, settings: dict[str, Any], complaints: str | None
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.complaints = complaints
        self.tenant: RunningCluster | None = None

    def cluster(self) -> RunningCluster:
        if self.tenant is None:
            cluster = RunningCluster(self.folder, **self.settings)
            cluster.complaints = self.complaints
            self.tenant = cluster.start()
            cluster.wait_until_running()
        return self.tenant

    def inspect(self) -> None:
        """After each test: everybody lives and nothing waits, or the test was to blame."""
        cluster = self.tenant
        if cluster is None:
            return
        try:
            wait_until(cluster.is_whole)
            wait_until(cluster.queue_is_empty)
        except AssertionError:
            cluster.destroy()
            OrmQ.objects.filter(key=cluster.queue).delete()
            self.tenant = None
            raise

    def close(self) -> None:
        if self.tenant is not None:
            self.tenant.leave()


@pytest.fixture(scope="module")
def lodge(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    db: None,
) -> Iterator[Lodge]:
    """The module says in CLUSTER with which settings its cluster runs, and in COMPLAINTS
    what it may say that no healthy cluster says.
    """
    settings = getattr(request.module, "CLUSTER", {})
    complaints = getattr(request.module, "COMPLAINTS", None)
    kept = Lodge(tmp_path_factory.mktemp("cluster"), settings, complaints)
    yield kept
    kept.close()


@pytest.fixture
def cluster(lodge: Lodge) -> Iterator[RunningCluster]:
    """A cluster that works, shared by the tests of a module."""
    yield lodge.cluster()
    lodge.inspect()


def leave(cluster: RunningCluster) -> None:
    if hasattr(cluster, "process"):
        cluster.leave()
    OrmQ.objects.filter(key=cluster.queue).delete()
