"""What each broker can do, as its flags say it: the table of docs/brokers.rst.

`python -m tests.capabilities` writes docs/capabilities.inc anew, which a test compares
with the flags.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import django

from django_q.brokers import Broker
from django_q.brokers.registry import KINDS, load
from tests.rst import simple_table

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "capabilities.inc"

CAPABILITIES: Final[dict[str, Callable[[type[Broker]], bool]]] = {
    "Receipts": lambda broker: broker.supports_receipts,
    "Renewal": lambda broker: broker.supports_leases or broker.supports_renewal,
    "Rescue": lambda broker: broker.supports_leases,
    "Once under one id": lambda broker: broker.supports_ids,
    "Slots remembered": lambda broker: broker.supports_once,
    "Bulk": lambda broker: broker.supports_bulk,
    "Delay": lambda broker: broker.supports_delay,
    "Priority": lambda broker: broker.supports_priority,
    "Cancel by id": lambda broker: broker.supports_cancel,
    "Peek": lambda broker: broker.supports_peek,
    "Pause": lambda broker: broker.supports_pause,
    "Wake-up": lambda broker: broker.supports_news,
    "Exactly once": lambda broker: broker.supports_atomic,
}

ONLY: Final = {
    ("Wake-up", "ORM"): "PostgreSQL",
    ("Wake-up", "Mongo"): "replica sets",
}
"""Where it takes a certain server."""

MEMORY: Final = ("Memory", "django_q.brokers.memory.Memory")
TITLES: Final = {"the database": "Database", "Amazon SQS": "SQS"}


def brokers() -> dict[str, type[Broker]]:
    """All of ours by their titles, the default one first."""
    found = [(TITLES.get(kind.title, kind.title), kind.path) for kind in KINDS]
    return {title: load(path) for title, path in [*reversed(found), MEMORY]}


def table() -> str:
    """The table, a capability in each row and a broker in each column."""
    columns = brokers()
    rows = [["Capability", *columns]]
    for name, has in CAPABILITIES.items():
        rows.append([name, *(cell(name, has, broker) for broker in columns.values())])
    return simple_table(rows)


def cell(name: str, has: Callable[[type[Broker]], bool], broker: type[Broker]) -> str:
    return ONLY.get((name, broker.__name__), "yes") if has(broker) else "\N{EN DASH}"


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    PAGE.write_text(table(), encoding="utf-8")
