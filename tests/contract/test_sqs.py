"""The broker for Amazon SQS keeps the contract of all brokers, on moto's server."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from django_q.brokers import Broker
from tests.contract.brokers import BrokerContract, new_id
from tests.servers import SqsServer


class TestSqs(BrokerContract):
    tells_next_due = False

    @pytest.fixture(autouse=True)
    def _server(self, sqs_server: SqsServer, q_settings: Any) -> None:
        self.server = sqs_server
        q_settings(sqs=sqs_server.settings, orm=None)
        cache.clear()

    def make_broker(self, queue: str) -> Broker:
        from django_q.brokers.aws_sqs import Sqs  # noqa: PLC0415 - boto3 may be missing

        return Sqs(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        self.server.pass_time(seconds)


class TestFifoSqs(TestSqs):
    """The same on a FIFO queue, whose name ends in ".fifo". Each package is a group of its
    own there, so that whoever holds one keeps nobody from the others.
    """

    @pytest.fixture
    def queue(self) -> str:
        return f"contract-{new_id()[:8]}.fifo"

    def make_broker(self, queue: str) -> Broker:
        return super().make_broker(queue.replace(".fifo", "") + ".fifo")

    def test_one_id_is_one_task_or_the_flag_is_down(self, broker: Broker):
        """One id is one task for five minutes, and no longer: too short for the flag."""
        task_id = new_id()
        for _ in range(2):
            broker.enqueue("once", task_id=task_id)
        assert broker.queue_size() == 1
        self.pass_time(broker, 301)
        broker.enqueue("again", task_id=task_id)
        assert (broker.queue_size(), broker.supports_ids) == (2, False)
