"""Front: a broker that cannot renew leases, such as a project's own, as a cluster uses it."""

from __future__ import annotations

import pickle
from base64 import b64decode, b64encode
from collections.abc import Sequence
from copy import copy
from time import monotonic
from typing import Any, Final

from django_q.brokers.base import Broker, Consignment, Delivery
from django_q.brokers.registry import get_broker
from django_q.callables import takes_keyword
from django_q.conf import get_options

OBJECT: Final = "object:"
"""Begins the names of receipts that are no plain text."""

MOST_REMEMBERED: Final = 10_000
"""Packages whose deliveries are counted; the oldest are forgotten first."""


def in_service(given: Broker | None) -> Broker:
    """The broker that a role of a cluster uses: a copy of the given one, else a new one."""
    broker = copy(given) or get_broker()
    return broker if broker.can_renew else Front(broker)


class Front(Broker):
    """Stands before a broker that decides for itself when a package comes back.

    Has the verbs that pusher and monitor use, and no others.

    Receipts get a name that is text, and the broker gets the receipt itself. `dequeue`
    may take no count, and may give one pair. Deliveries are counted here, each cluster
    for itself, so that a failing task ends after `max_attempts`.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.list_key = broker.list_key
        self.supports_receipts = broker.supports_receipts
        self._takes_count = takes_keyword(broker.dequeue, "count")
        self._rest = 0.0
        self._seen: dict[int, int] = {}

    @property
    def short_key(self) -> str:
        return self._broker.short_key

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
    ) -> Any:
        del task_id, delay, priority
        return self._broker.enqueue(package)

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        self._broker.enqueue_many(consignments)

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        broker: Any = self._broker
        begun = monotonic()
        given = broker.dequeue(count=count) if self._takes_count else broker.dequeue()
        deliveries = [self._note(*pair) for pair in pairs_in(given)]
        waited = monotonic() - begun
        self._rest = 0.0 if deliveries else max(0.0, get_options().poll - waited)
        return deliveries

    def acknowledge(self, receipt: str) -> Any:
        return self._broker.acknowledge(receipt_of(receipt))

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        self._broker.acknowledge_many([receipt_of(name) for name in receipts])
        return set(receipts)

    def fail(self, receipt: str) -> Any:
        self._broker.fail(receipt_of(receipt))
        if type(self._broker).fail is Broker.fail:
            # It knows no other way to get rid of a package.
            self.acknowledge(receipt)

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        originals = [receipt_of(name) for name in receipts]
        self._broker.release(originals, delay=delay, failed=failed)
        return set(receipts)

    def pulse(self) -> float:
        # It may give one at a time however many there are, and wait itself for the next.
        return self._rest

    def close(self) -> None:
        self._broker.close()

    def _note(self, receipt: Any, package: str | bytes) -> Delivery:
        """Name the receipt, and count how often the package has come."""
        text = package if isinstance(package, str) else package.decode()
        key = hash(text)
        times = self._seen.pop(key, 0) + 1
        self._seen[key] = times
        if len(self._seen) > MOST_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        name = name_of(receipt)
        return Delivery(name, text, deliveries=times, attempts=times - 1)


def pairs_in(given: Any) -> list[Any]:
    """The pairs of receipt and package in whatever `dequeue` gave."""
    if not given:
        return []
    is_one = isinstance(given, tuple) and isinstance(given[1], str | bytes)
    return [given] if is_one else list(given)


def name_of(receipt: Any) -> str | None:
    """A receipt as text that names it among all others; None: there is none."""
    if receipt is None or (isinstance(receipt, str) and ":" not in receipt):
        return receipt
    return OBJECT + b64encode(pickle.dumps(receipt)).decode("ascii")


def receipt_of(name: str) -> Any:
    """The receipt that was given this name: of its own type, not a text about it."""
    if not name.startswith(OBJECT):
        return name
    # Our own pusher made it, and it has been on lines between our processes only.
    return pickle.loads(b64decode(name.removeprefix(OBJECT)))  # noqa: S301
