"""Receivers of all signals: they write down what came, where the test says."""

from __future__ import annotations

import os
import re
from typing import Any

from django.apps import AppConfig
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from django_q import signals
from tests import functions

NAMES = ("post_spawn", "pre_execute", "post_execute_in_worker", "post_execute")


class AcceptanceConfig(AppConfig):
    name = "tests.acceptance"
    label = "acceptance"

    def ready(self) -> None:
        path = os.environ["QTEST_SIGNALS"]
        for name in NAMES:
            getattr(signals, name).connect(Listener(path, name), weak=False)
        if "QTEST_STATEMENTS" in os.environ:
            count = StatementLog(os.environ["QTEST_STATEMENTS"])
            connection_created.connect(count.watch, weak=False)


class StatementLog:
    """Writes down each statement that this process gives to a database."""

    def __init__(self, path: str) -> None:
        self.path = path

    def watch(self, connection: BaseDatabaseWrapper, **_: Any) -> None:
        """Receives `connection_created`; once for each, however often it connects."""
        if self not in connection.execute_wrappers:
            connection.execute_wrappers.append(self)

    def __call__(self, execute: Any, sql: str, *rest: Any) -> Any:
        functions.log(self.path, summary(sql))
        return execute(sql, *rest)


def summary(sql: str) -> str:
    """What a statement does with which of our tables, in one word: `UPDATE:ormq`."""
    verb = sql.split(maxsplit=1)[0]
    tables = re.findall(r"django_q_(\w+)", sql)
    return ":".join([verb, *sorted(set(tables))])


class Listener:
    """Writes down one kind of signal and the name of its task or process.

    Of a task that has the key `trail` it also writes down all keys.
    """

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.kind = kind

    def __call__(self, **facts: Any) -> None:
        name = facts["task"]["name"] if "task" in facts else facts["proc_name"]
        functions.log(self.path, f"{self.kind}:{name.split()[0]}")
        if "trail" in facts.get("task", {}):
            functions.log(self.path, f"{self.kind}={','.join(facts['task'])}")
