"""Receivers of all signals: they write down what came, where the test says."""

from __future__ import annotations

import os
from typing import Any

from django.apps import AppConfig

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
