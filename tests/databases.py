"""An empty database of the kind in use, beside the one that the tests share."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connections


@contextmanager
def fresh_database(folder: Path) -> Iterator[dict[str, Any]]:
    """Its settings; it is gone afterwards."""
    default = connections["default"]
    settings = copy.deepcopy(default.settings_dict)
    if default.vendor == "sqlite":
        yield settings | {"NAME": str(folder / "fresh.sqlite3")}
        return
    name = "test_django_q_fresh"
    command(f"DROP DATABASE IF EXISTS {name}")
    command(f"CREATE DATABASE {name}")
    try:
        yield settings | {"NAME": name}
    finally:
        command(f"DROP DATABASE {name}")


def command(sql: str) -> None:
    """On the server, in none of its databases."""
    with connections["default"]._nodb_cursor() as cursor:  # noqa: SLF001 - Django's tests do
        cursor.execute(sql)


@contextmanager
def fresh_alias(folder: Path, alias: str) -> Iterator[dict[str, Any]]:
    """The same, known to Django by this name; its tables are for the caller to make."""
    with fresh_database(folder) as settings:
        connections.settings[alias] = copy.deepcopy(settings)
        try:
            yield settings
        finally:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]
