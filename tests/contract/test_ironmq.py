"""The IronMQ broker keeps the contract of all brokers.

IronMQ is a service that nobody can install. These tests talk to the server of
tests/benches/iron_server.py, which speaks its HTTP interface and was written from its
documentation: the real service was not asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_q.brokers import Broker
from django_q.brokers.ironmq import IronMQBroker
from tests.benches.iron_server import IronServer
from tests.contract.brokers import BrokerContract, receipt_of, take_one


class TestIronMQ(BrokerContract):
    tells_next_due = False

    @pytest.fixture(autouse=True)
    def _server(self, q_settings: Any) -> Iterator[None]:
        with IronServer() as self.server:
            q_settings(iron_mq=self.server.settings, orm=None)
            yield

    def make_broker(self, queue: str) -> Broker:
        return IronMQBroker(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        self.server.skipped += seconds

    def test_lapsed_lease_that_nobody_took_can_be_renewed(
        self, broker: Broker, other: Broker
    ):
        """It can't: a reservation that has ended is over, and the message is for all."""
        broker.enqueue("mine")
        receipt = receipt_of(take_one(broker))
        self.pass_time(broker, 31)
        assert broker.renew([receipt]) == set()
        assert take_one(other).package == "mine"
