"""Atomicity: where a task can run in one transaction with its result and its end."""

from __future__ import annotations

from django_q import results
from django_q.brokers import Broker
from django_q.exceptions import NotAtomic
from django_q.logs import clean


def check_place(broker: Broker) -> None:
    """Raises NotAtomic unless queue and results are in one database."""
    alias = results.write_alias()
    if broker.supports_atomic and broker.database == alias:
        return
    place = clean(broker.info())
    message = (
        "'atomic' needs the queue and the results in one database, and the queue"
        f" {clean(broker.short_key)!r} is elsewhere: {place}, the results in {alias!r}."
    )
    hint = f"Set Q_CLUSTER['orm'] to {alias!r} for this queue, or leave 'atomic' off."
    raise NotAtomic(message, hint=hint)
