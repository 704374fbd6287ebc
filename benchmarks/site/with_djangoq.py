"""Django Q: django-q2 and this package, by the functions that both have."""

from __future__ import annotations

import os
from typing import Any, Final

from benchmarks.site.told import OPTIONS
from django_q import tasks

FUNC: Final = f"benchmarks.site.body.{OPTIONS.get('func', 'noop')}"
PAYLOAD: Final = os.urandom(OPTIONS.get("payload", 0))
NAP: Final = OPTIONS.get("nap")
"""Seconds, for the functions that take them."""

LONG: Final = OPTIONS.get("long")
"""Seconds that the first task takes instead."""

GROUPS: Final = OPTIONS.get("groups")
"""Tasks are spread over so many."""

Arguments = tuple[Any, ...]


def one(a: int, b: int) -> None:
    options = {"group": f"g{a % GROUPS}"} if GROUPS else {}
    tasks.async_task(FUNC, *arguments(a, b), **options)


def arguments(a: int, b: int) -> Arguments:
    if NAP is not None:
        return (a, LONG if LONG and a == 0 else NAP)
    return (a, b, PAYLOAD) if PAYLOAD else (a, b)


async_bulk: Any = getattr(tasks, "async_bulk", None)

# Where tasks differ in their options, or a thousand of them are too large for one call,
# they are queued one by one.
if async_bulk is not None and not GROUPS and len(PAYLOAD) <= 10_000:

    def bulk(pairs: list[tuple[int, int]]) -> None:
        async_bulk(FUNC, [arguments(a, b) for a, b in pairs])
