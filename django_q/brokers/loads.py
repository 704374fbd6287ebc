"""Loads: packages in portions that can travel at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from django_q.brokers.base import Consignment

LARGEST_LOAD: Final = 16 * 1024 * 1024
"""Bytes of packages that travel in one go, or one package that is larger."""

MOST_AT_ONCE: Final = 1000
"""Packages that are queued in one go: a server perhaps does nothing else meanwhile."""


def loads(
    consignments: Iterable[Consignment],
    most: int | None = None,
    largest: int | None = None,
) -> Iterator[list[Consignment]]:
    """The same in portions; no more of them are asked for than the next one takes.

    `most` packages, by default MOST_AT_ONCE; `largest` bytes, by default LARGEST_LOAD.
    """
    most, largest = most or MOST_AT_ONCE, largest or LARGEST_LOAD
    load: list[Consignment] = []
    size = 0
    for consignment in consignments:
        length = len(consignment.package)
        if load and (len(load) == most or size + length > largest):
            yield load
            load, size = [], 0
        load.append(consignment)
        size += length
    if load:
        yield load
