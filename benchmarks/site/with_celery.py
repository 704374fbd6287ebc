"""Celery, in a Django project as its documents show it."""

from __future__ import annotations

import os

from celery import Celery, group

from benchmarks.site import body

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.site.settings")

app = Celery("benchmarks")
app.config_from_object("django.conf:settings", namespace="CELERY")


@app.task(name="noop")
def noop(a: int, b: int) -> int:
    return body.noop(a, b)


def one(a: int, b: int) -> None:
    noop.delay(a, b)


def bulk(pairs: list[tuple[int, int]]) -> None:
    group(noop.s(a, b) for a, b in pairs).apply_async()
