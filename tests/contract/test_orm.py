"""The ORM broker keeps the contract of all brokers, on the database of this run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.db.models import F

from django_q.brokers import Broker
from django_q.brokers.orm import ORM
from django_q.models import OrmQ
from tests.contract.brokers import BrokerContract

KIND = django_settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]


@pytest.mark.django_db(transaction=True)
class TestORM(BrokerContract):
    def make_broker(self, queue: str) -> Broker:
        return ORM(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        rows = OrmQ.objects.filter(key=broker.list_key)
        rows.update(lock=F("lock") - timedelta(seconds=seconds))

    def in_thread(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    def count_held(self, broker: Broker) -> int:
        return OrmQ.objects.filter(key=broker.list_key, holder__isnull=False).count()


@pytest.mark.skipif(KIND != "sqlite3", reason="only SQLite")
class TestORMOnOldSQLite(TestORM):
    """Before 3.35, SQLite could not return what it updates."""

    @pytest.fixture(autouse=True)
    def _old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
