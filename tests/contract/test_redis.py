"""The Redis broker keeps the contract of all brokers, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis as Client

from django_q.brokers import Broker
from django_q.brokers.redis_broker import Redis
from tests.contract.brokers import BrokerContract
from tests.servers import RedisServer


class RedisContract(BrokerContract):
    """A subclass says where its server is, and empties it."""

    def make_broker(self, queue: str) -> Broker:
        return Redis(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        assert isinstance(broker, Redis)
        client: Any = broker.connection
        for name in ("clusters", "later"):
            key = f"{broker.list_key.removesuffix('q')}{name}"
            for member in client.zrange(key, 0, -1):
                client.zincrby(key, -1000 * seconds, member)

    def count_held(self, broker: Broker) -> int:
        assert isinstance(broker, Redis)
        held = broker.connection.scan_iter(broker.list_key[:-1] + "held:*")
        return sum(broker.connection.hlen(key) for key in held)


class TestRedis(RedisContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer, q_settings: Any) -> Iterator[None]:
        self.server = redis_server
        q_settings(redis=self.connection(), orm=None)
        yield
        with Client.from_url(redis_server.url) as client:
            client.flushdb()

    def connection(self) -> str | dict[str, Any]:
        return self.server.url


class TestRedisThatDecodes(TestRedis):
    """A project's client may give text where others give bytes, and speak RESP3."""

    def connection(self) -> dict[str, Any]:
        return {"port": self.server.port, "decode_responses": True, "protocol": 3}
