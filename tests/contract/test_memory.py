"""The memory broker keeps the contract of all brokers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache

from django_q.brokers import Broker
from django_q.brokers.memory import Memory
from tests.contract.brokers import BrokerContract


class TestMemory(BrokerContract):
    @pytest.fixture(autouse=True)
    def _empty(self, queue: str) -> Iterator[None]:
        # Its vital signs lie there, beside those that other tests have left.
        cache.clear()
        yield
        for name in (queue, f"{queue}-other"):
            Memory(name).purge_queue()

    def make_broker(self, queue: str) -> Broker:
        return Memory(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        assert isinstance(broker, Memory)
        broker.pass_time(seconds)

    def count_held(self, broker: Broker) -> int:
        assert isinstance(broker, Memory)
        return broker.count_held()
