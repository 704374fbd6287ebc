"""The broker for Amazon SQS keeps the contract of all brokers, on moto's server."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from django_q.brokers import Broker
from tests.contract.brokers import BrokerContract
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
