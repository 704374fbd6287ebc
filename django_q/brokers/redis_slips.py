"""What goes to Redis and what comes back: portions of packages, slips, receipts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from time import time_ns
from typing import Final

from django_q.brokers.base import Consignment, Delivery, bounded

LARGEST_LOAD: Final = 16 * 1024 * 1024
"""Bytes of packages that travel in one go, or one package that is larger."""

MOST_AT_ONCE: Final = 1000
"""Packages that are queued in one go: Redis does nothing else meanwhile."""


def new_token() -> str:
    """Says which question it is when it is asked again. Later ones sort behind."""
    return f"{time_ns():016x}{os.urandom(4).hex()}"


def deliveries(fields: Sequence[bytes]) -> list[Delivery]:
    """Receipts and slips, in turn, as what was handed out; oldest first."""
    pairs = sorted(zip(fields[::2], fields[1::2], strict=True))
    return [deliver(receipt.decode(), slip) for receipt, slip in pairs]


def deliver(receipt: str, slip: bytes) -> Delivery:
    """A slip as it is handed out. What is no text can't be a package of ours."""
    header, _, package = slip.partition(b"\n")
    counts = map(int, header.split(b" ", 4)[:4])
    return Delivery(receipt, package.decode(errors="replace"), *counts)


def loads(consignments: Sequence[Consignment]) -> Iterator[list[Consignment]]:
    """The same in portions that Redis can take at once."""
    load: list[Consignment] = []
    size = 0
    for consignment in consignments:
        length = len(consignment.package)
        if load and (len(load) == MOST_AT_ONCE or size + length > LARGEST_LOAD):
            yield load
            load, size = [], 0
        load.append(consignment)
        size += length
    if load:
        yield load


def words_of(consignment: Consignment) -> tuple[str | bytes, ...]:
    """A package as the script that queues it is told of it."""
    package, _, task_id, delay, priority = consignment
    options = ""
    if delay > 0 or priority:
        options = f"{max(0, int(delay * 1000))} {bounded(priority)}"
    return one_line(task_id or ""), options, package.encode()


def one_line(text: str) -> str:
    """An id as it can stand in the first line of a slip."""
    return text.replace("\n", " ").replace("\t", " ")
