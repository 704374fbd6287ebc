"""Streams: packages are sent on while the server still queues those before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from django_q.brokers.base import Broker, Consignment, Stream
from django_q.brokers.loads import LARGEST_LOAD, MOST_AT_ONCE, loads

PORTION: Final = 125
"""Packages that a stream sends in one go: for fewer, there is more to say around them, and
for more the server waits longer.
"""

PORTIONS: Final = MOST_AT_ONCE // PORTION
"""Of one stream. What it sent is kept until it ends."""


class StreamBroken(Exception):
    """Of what a stream sent, only the first so many are known to be queued."""

    def __init__(self, queued: int = 0) -> None:
        super().__init__(queued)
        self.queued = queued


def enqueue_all(
    broker: Broker, consignments: Iterable[Consignment]
) -> Iterator[list[Consignment]]:
    """Queue packages as they come, and give them when they are queued.

    Each has an id and is for this broker's queue; whoever makes them asks nothing of the
    broker meanwhile. Raises what the broker raises.

    A stream sends some without waiting for answers. When it ends, it has had them all, or
    raises StreamBroken: then the rest are queued as others are, which says what is wrong.
    """
    open_stream = broker.stream_opener()
    if open_stream is None:
        for load in loads(consignments):
            broker.enqueue_many(load)
            yield load
        return
    portions = loads(consignments, PORTION, LARGEST_LOAD // PORTIONS)
    for first in portions:
        others = islice(portions, PORTIONS - 1)
        yield from _flow(broker, open_stream(), first, others)


def _flow(
    broker: Broker,
    stream: Stream,
    first: list[Consignment],
    others: Iterable[list[Consignment]],
) -> Iterator[list[Consignment]]:
    sent, mistakes = list(first), list[Exception]()
    try:
        with stream as send:
            send(first)
            for portion in _until_mistake(others, mistakes):
                sent += portion
                send(portion)
    except StreamBroken as broken:
        # What has an id is queued once, however often it is sent, until it has run.
        for load in loads(sent[broken.queued :]):
            broker.enqueue_many(load)
    yield sent
    if mistakes:
        raise mistakes[0]


def _until_mistake(
    portions: Iterable[list[Consignment]], mistakes: list[Exception]
) -> Iterator[list[Consignment]]:
    """Those that were made; what was sent of them is told of before the mistake is."""
    try:
        yield from portions
    except Exception as error:  # noqa: BLE001 - of whoever makes them
        mistakes.append(error)
