"""The fixtures of the fault table: a place for this run, and a bench for each row."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import django
import pytest

from tests.acceptance.conftest import Runner, db, half_of, new_cluster
from tests.faults.bench import Bench, Figures
from tests.faults.company import Company, Host
from tests.faults.places import KINDS, OF_DATABASE, Place, open_place
from tests.servers import SERVERS
from tests.settings import ENGINE

__all__ = ["db", "new_cluster"]

HERE = Path(__file__).parent
HOLDS = pytest.StashKey[bool]()
WANTED = os.environ.get("QTEST_FAULTS_BROKER")
RECORD = os.environ.get("QTEST_FAULTS_RECORD")
ROWS = json.loads(os.environ.get("QTEST_FAULTS_ROWS", "null"))


def pytest_configure(config: pytest.Config) -> None:
    for text in (
        "row(number, title): a row of the fault table",
        "core: one of the rows that are run with all other tests",
        "on(*kinds): the row is about these brokers only",
    ):
        config.addinivalue_line("markers", text)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Without a broker that was asked for, only the core, on the database of this run."""
    left_out = {item for item in items if is_mine(item) and not is_wanted(item)}
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def is_mine(item: pytest.Item) -> bool:
    return item.path.is_relative_to(HERE)


def is_wanted(item: pytest.Item) -> bool:
    kind = WANTED or OF_DATABASE[ENGINE]
    about = item.get_closest_marker("on")
    if about is not None and kind not in about.args:
        return False
    row = item.get_closest_marker("row")
    if ROWS is not None:
        return row is not None and row.args[0] in ROWS
    if WANTED:
        return True
    return item.get_closest_marker("core") is not None and is_due_here(item)


def is_due_here(item: pytest.Item) -> bool:
    """With QTEST_SQLITE_HALF, each of two Pythons has half of the core on SQLite, and
    the other half on the server of its own.
    """
    half = os.environ.get("QTEST_SQLITE_HALF")
    return not half or (half_of(item) == int(half)) is (ENGINE == "sqlite")


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    kind = WANTED or OF_DATABASE[ENGINE]
    assert kind in KINDS
    with open_place(kind) as opened:
        yield opened


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    place: Place,
    tmp_path: Path,
    new_cluster: Runner,
    q_settings: Any,
) -> Iterator[Bench]:
    """What a row does its harm on. Its figures are recorded, also of a row that fails."""
    q_settings(**place.near)
    made = Bench(place, tmp_path, new_cluster)
    yield made
    with recorded(request.node, place, made.figures):
        made.dismiss()


@pytest.fixture(scope="module")
def host(
    request: pytest.FixtureRequest,
    place: Place,
    tmp_path_factory: pytest.TempPathFactory,
    db: None,
) -> Iterator[Host]:
    """The module says in CLUSTER with which settings its cluster runs, and in COMPLAINTS
    which tracebacks its rows bring about.
    """
    folder = tmp_path_factory.mktemp("shared")
    made = Host(place, folder, request.module.CLUSTER, request.module.COMPLAINTS)
    yield made
    made.close()


@pytest.fixture
def company(
    request: pytest.FixtureRequest, host: Host, tmp_path: Path, q_settings: Any
) -> Iterator[Company]:
    """A row on the cluster that all rows of its module share."""
    q_settings(**host.bench.place.near)
    made = Company(host, tmp_path)
    yield made
    with recorded(request.node, made.place, made.figures):
        host.inspect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the fixture know whether the row holds."""
    report = yield
    if report.when == "call":
        item.stash[HOLDS] = report.passed
    return report


def versions(place: Place) -> str:
    """With what a row was found: "Python 3.13.0, Django 6.1, PostgreSQL 15.14"."""
    software = [f"Python {platform.python_version()}", f"Django {django.__version__}"]
    if ENGINE in SERVERS:
        software.append(f"{SERVERS[ENGINE].title} {SERVERS[ENGINE].version()}")
    else:
        software.append(f"SQLite {sqlite3.sqlite_version}")
    if place.server is not None and not place.shares_database:
        software.append(f"{place.server.title} {place.server.version()}")
    return ", ".join(software)


@contextmanager
def recorded(item: pytest.Item, place: Place, figures: Figures) -> Iterator[None]:
    """A row holds if its end, which this frames, raises nothing either."""
    ends_well = False
    try:
        yield
        ends_well = True
    finally:
        record(item, place, figures, holds=ends_well and item.stash.get(HOLDS, False))


def record(item: pytest.Item, place: Place, figures: Figures, *, holds: bool) -> None:
    marker = item.get_closest_marker("row")
    if RECORD and marker is not None:
        number, title = marker.args
        facts = {"row": number, "title": title, "broker": place.kind}
        facts |= asdict(figures)
        facts |= {"date": date.today().isoformat(), "with": versions(place)}
        facts["holds"] = holds
        with Path(RECORD).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")
