"""Rows 47 to 50: packages that are none, keys that changed, tasks that were taken back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core import signing
from django.db import transaction

from django_q.models import Task
from django_q.signing import PickleSerializer, SignedPackage
from tests import functions
from tests.acceptance.functions import DiesOnLoad, RaisesOnLoad
from tests.faults import FORMER_KEY
from tests.faults.company import Company
from tests.functions import words
from tests.security.harm import Bomb
from tests.waiting import wait_until

row = pytest.mark.row

CLUSTER = {"timeout": 30}
COMPLAINTS = None

MODULE = "tests.gone"
NO_TASKS: tuple[Any, ...] = (None, "text", [], {}, {"id": 1}, {"a": {"b": "c"}})


@row(47, "unsigned, tampered, foreign, huge, binary packages")
def test_row_47_packages_that_are_none(company: Company, bomb: Bomb) -> None:
    pushed = company.cluster.pids("pusher")
    before = Task.objects.count()
    sent = 0
    with company.beside():
        for package in foreign_packages(bomb):
            sent += company.put(package)
    figures = company.count_unharmed()
    assert sent >= 9
    assert not bomb.has_exploded
    company.wait_for_lines("WARNING rejected package", sent)
    assert Task.objects.count() == before + figures.rows
    assert company.cluster.pids("pusher") == pushed
    assert str(bomb.path) not in company.said


def foreign_packages(bomb: Bomb) -> list[str]:
    good = SignedPackage.dumps(bomb)
    body, stamp, signature = good.split(":")
    by_others: list[Any] = [
        {"key": "another key", "salt": "tests"},
        {"salt": "another site"},
    ]
    return [
        "",
        "garbage",
        ":::::",
        "\x01\x7f\ufffd" * 100,
        f"{body}:{stamp}",
        f"A{good}",
        f"{body}:{stamp}:{signature[:-2]}",
        good[:40],
        *(signing.dumps(bomb, serializer=PickleSerializer, **by) for by in by_others),
        "x" * 11_000_000,
        sign(b"\0" * 50_000_000),
    ]


def sign(payload: Any) -> str:
    """As SignedPackage would, if it had no limit."""
    words: Any = {"salt": "tests", "serializer": PickleSerializer, "compress": True}
    return signing.dumps(payload, **words)


@row(48, "signed by us, but no task, or a class is missing")
def test_row_48_package_that_cannot_be_opened(
    company: Company, module_that_goes: ModuleType
) -> None:
    workers, before = company.workers(), set(Task.objects.values_list("pk", flat=True))
    with company.beside():
        for content in NO_TASKS:
            company.put(SignedPackage.dumps(content))
        ids = [
            company.cluster.send(functions.echo, value)
            for value in (module_that_goes.Order(), RaisesOnLoad())
        ]
    company.count_unharmed()
    for task_id, reason in zip(ids, (MODULE, "RuntimeError"), strict=True):
        text = company.failure_of(task_id)
        assert "can't be opened" in text
        assert reason in text
    assert company.workers() == workers

    with company.beside():
        company.cluster.send(functions.nothing, DiesOnLoad(company.harm))
    company.count_unharmed()
    # Nobody could open it to see its id.
    known = {*before, *ids, *company.acknowledged().values()}
    rows = Task.objects.exclude(pk__in=known)
    wait_until(rows.exists)
    told = [task.result for task in rows if "exit code 7" in task.result]
    assert len(told) == 1
    assert len(words(company.harm)) == 3


@pytest.fixture
def module_that_goes() -> Iterator[ModuleType]:
    """A module that no cluster has."""
    module = ModuleType(MODULE)
    module.Order = type("Order", (), {"__module__": MODULE})  # type: ignore[attr-defined]
    sys.modules[MODULE] = module
    yield module
    del sys.modules[MODULE]


@row(49, "SECRET_KEY rotated")
def test_row_49_packages_of_the_former_key(company: Company, settings: Any) -> None:
    key = settings.SECRET_KEY
    company.send_healthy("with-the-key")
    settings.SECRET_KEY = FORMER_KEY
    company.send_healthy("with-the-former-key")
    settings.SECRET_KEY = key
    company.count_unharmed()
    assert not company.says("rejected package")


@row(50, "enqueue in a rolled-back transaction")
def test_row_50_rolled_back_transaction(company: Company, q_settings: Any) -> None:
    with company.beside(), suppress(Undone), transaction.atomic():
        send_harm(company, "undone")
        raise Undone
    with transaction.atomic():
        company.send_healthy("in-a-transaction")
    company.count_unharmed()
    assert words(company.harm) == []
    if not company.place.shares_database:
        q_settings(send_on_commit=False)
        with suppress(Undone), transaction.atomic():
            send_harm(company, "at-once")
            raise Undone
        wait_until(lambda: words(company.harm) == ["at-once"])


class Undone(Exception):
    """Rolls a transaction back."""


def send_harm(company: Company, word: str) -> None:
    company.cluster.send(functions.log, company.harm, word)


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    return Bomb(tmp_path / "exploded")
