"""Abroad: sends tasks to queues of this site that are on another broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import Final, NamedTuple

from django_q.brokers import Broker, Consignment, get_broker
from django_q.brokers.registry import is_elsewhere
from django_q.exceptions import BrokerError
from django_q.results import Record

REST: Final = 5.0
"""Seconds for which a broker that failed is left alone: to ask it may take as long."""


class Unsent(BrokerError):
    """A task can't be sent to a queue on another broker. Nothing else is wrong."""

    def __init__(self, queue: str, reason: object) -> None:
        super().__init__(
            f"The broker of the queue {queue!r} can't be reached: {reason}"
        )


class Failure(NamedTuple):
    """What a broker answered last, and until when it is not asked again."""

    reason: Exception
    until: float


class Abroad:
    """Keeps a broker for each queue to which this cluster's own broker does not lead.

    One that fails is asked again only after a rest, so that it costs the others little.
    """

    def __init__(self) -> None:
        self._brokers: dict[str, Broker] = {}
        self._failures: dict[str, Failure] = {}

    def send(self, queue: str, consignments: Sequence[Consignment]) -> None:
        """Put packages on that queue. Raises Unsent."""
        failure = self._failures.get(queue)
        if failure is not None and monotonic() < failure.until:
            raise Unsent(queue, failure.reason)
        try:
            self._broker_of(queue).enqueue_many(consignments)
        except Exception as error:
            self._failures[queue] = Failure(error, monotonic() + REST)
            raise Unsent(queue, error) from error
        self._failures.pop(queue, None)

    def close(self) -> None:
        """Close the connections; the next package opens them anew."""
        for broker in self._brokers.values():
            broker.close()

    def _broker_of(self, queue: str) -> Broker:
        if queue not in self._brokers:
            self._brokers[queue] = get_broker(queue)
        return self._brokers[queue]


def way_of(record: Record) -> str | None:
    """The queue on another broker where a record's chain goes on, if it does."""
    queue = record.link_queue if record.link else None
    return queue if queue and is_elsewhere(queue) else None


def links_in(records: Iterable[Record], own: str) -> list[Consignment]:
    """The next links of their chains, on their way."""
    return [
        Consignment(r.link, r.link_queue or own, r.link_id) for r in records if r.link
    ]
