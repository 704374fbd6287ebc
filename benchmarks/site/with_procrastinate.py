"""Procrastinate, through its own support for Django."""

from __future__ import annotations

from procrastinate.contrib.django import app

from benchmarks.site import body


@app.task(name="noop", queue="default")
def noop(a: int, b: int) -> int:
    return body.noop(a, b)


def one(a: int, b: int) -> None:
    noop.defer(a=a, b=b)


def bulk(pairs: list[tuple[int, int]]) -> None:
    noop.batch_defer(*[{"a": a, "b": b} for a, b in pairs])
