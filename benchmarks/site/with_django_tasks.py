"""Django's own tasks, of django-tasks-db and of dj-queue."""

from __future__ import annotations

from typing import Any

from django.tasks import task

from benchmarks.site import body
from benchmarks.site.told import TOLD


@task
def noop(a: int, b: int) -> int:
    return body.noop(a, b)


def one(a: int, b: int) -> None:
    noop.enqueue(a, b)


if TOLD.get("environment") == "djqueue":

    def bulk(pairs: list[tuple[int, int]]) -> None:
        backend: Any = noop.get_backend()
        backend.enqueue_all([(noop, pair, {}) for pair in pairs])
