"""A broker that works by another cluster's settings keeps the contract as any other."""

from __future__ import annotations

from dataclasses import replace

from django_q.brokers import Broker
from django_q.brokers.elsewhere import Elsewhere, open_elsewhere
from django_q.brokers.memory import Memory
from django_q.conf import get_options
from tests.contract.brokers import take
from tests.contract.test_memory import TestMemory as InMemory


class TestElsewhere(InMemory):
    def make_broker(self, queue: str) -> Broker:
        return open_elsewhere(Memory, queue, get_options())

    def test_setting_bulk_says_how_many_are_taken(  # type: ignore[override]
        self, queue: str
    ) -> None:
        broker = open_elsewhere(Memory, queue, replace(get_options(), bulk=2))
        assert isinstance(broker, Elsewhere)
        for number in range(3):
            broker.enqueue(str(number))
        assert len(take(broker)) == 2
