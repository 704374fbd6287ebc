"""Databases that a test makes known to Django for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from django.db import connections
from django.db.utils import load_backend

NUMBERS = count(1)


@contextmanager
def added_database(*, for_threads: bool = False, **settings: Any) -> Iterator[str]:
    """Alias of a database like the default one, but for these settings.

    Known in this thread only, which Django's tests allow without being asked. In all
    threads, `for_threads`, only where a test may use any database.
    """
    alias = f"added{next(NUMBERS)}"
    # Not the options: they belong to one kind of database, or to the test.
    settings = {**connections.settings["default"], "OPTIONS": {}, **settings}
    if for_threads:
        connections.settings[alias] = settings
    else:
        wrapper = load_backend(settings["ENGINE"]).DatabaseWrapper
        connections[alias] = wrapper(settings, alias)
    try:
        yield alias
    finally:
        connections[alias].close()
        if connections[alias].connection is not None:
            # Django leaves a database in memory open: it would be gone.
            connections[alias].connection.close()
        del connections[alias]
        connections.settings.pop(alias, None)


@contextmanager
def added_sqlite(
    name: object, *, for_threads: bool = False, **options: Any
) -> Iterator[str]:
    """Alias of an SQLite database in this file."""
    settings = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(name),
        "OPTIONS": {"timeout": 1, **options},
    }
    with added_database(for_threads=for_threads, **settings) as alias:
        yield alias
