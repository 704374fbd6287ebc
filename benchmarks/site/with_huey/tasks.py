"""Huey, through its own support for Django."""

from __future__ import annotations

from huey.contrib.djhuey import task

from benchmarks.site import body


@task()
def noop(a: int, b: int) -> int:
    return body.noop(a, b)


def one(a: int, b: int) -> None:
    noop(a, b)
