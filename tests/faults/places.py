"""Places: the brokers that faults are brought upon, each behind a network of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.proxy import Proxy
from tests.servers import SERVERS, RedisServer, Server, SqsServer
from tests.settings import ENGINE

OF_DATABASE: Final = {
    "sqlite": "orm-sqlite",
    "postgres": "orm-pg",
    "mysql": "orm-mariadb",
}
"""What the queue is called where it is in the database of this run."""

LEASE: Final = 3
"""Seconds for which clusters of these tests lease what they take."""

KINDS: Final = ("redis", "orm-pg", "orm-sqlite", "orm-mariadb", "sqs")
NEEDS: Final = {
    "redis": "postgres",
    "orm-pg": "postgres",
    "orm-sqlite": "sqlite",
    "orm-mariadb": "mysql",
    "sqs": "sqlite",
}
"""The database of a run of each kind; it has the results."""


@dataclass
class Place:
    """Where the queue is, as a cluster and a producer are told."""

    kind: str
    near: dict[str, Any]
    """Q_CLUSTER of the test itself, which no fault of the network concerns."""

    far: dict[str, Any]
    """Q_CLUSTER of clusters and producers."""

    environment: dict[str, str] = field(default_factory=dict)
    """Of clusters and producers."""

    queue_network: Proxy | None = None
    """Between them and the queue; None for a file."""

    database_network: Proxy | None = None
    """Between them and the results; None for a file."""

    server: Server | None = None
    """What the queue is in; None for a file."""

    database: Server | None = None
    """What the results are in; None for a file."""

    slack: float = 0.0
    """Seconds that recovery may take longer, see `keeps_lists`."""

    @property
    def keeps_lists(self) -> bool:
        """Whether the queue knows what each cluster holds, so that others can rescue it.

        SQS does not: what died with a process comes back when its visibility timeout ends.
        """
        return self.kind != "sqs"

    @property
    def networks(self) -> list[Proxy]:
        """All that there are between clusters and servers."""
        both = (self.queue_network, self.database_network)
        return [network for network in dict.fromkeys(both) if network is not None]

    @property
    def shares_database(self) -> bool:
        """Whether queue and results are in one database."""
        return self.kind.startswith("orm")

    @contextmanager
    def apart(self) -> Iterator[Place]:
        """The same place behind a network of its own, for one of several clusters."""
        assert self.queue_network is not None
        with Proxy(self.queue_network.target) as network:
            apart = replace(self, queue_network=network)
            if self.shares_database:
                apart.environment = environment_of(network)
            elif self.server is not None:
                apart.far = settings_of(self.server, network.port)
            yield apart


@contextmanager
def open_place(kind: str) -> Iterator[Place]:
    """Start what the place needs, and end it afterwards."""
    with ExitStack() as stack:
        near: dict[str, Any] = {"orm": "default"}
        place = Place(kind, near, near)
        if ENGINE != "sqlite":
            database = stack.enter_context(
                Proxy(int(os.environ["QTEST_DATABASE_PORT"]))
            )
            place.database_network = database
            place.database = SERVERS[ENGINE].of_this_run()
            if place.database is not None:
                stack.callback(place.database.leave_running)
            place.environment |= environment_of(database)
            if place.shares_database:
                place.queue_network, place.server = database, place.database
        if not place.shares_database:
            own = {"redis": RedisServer, "sqs": SqsServer}[kind]
            place.server = stack.enter_context(own())
            network = stack.enter_context(Proxy(place.server.port))
            place.queue_network = network
            place.near = settings_of(place.server, place.server.port)
            place.far = settings_of(place.server, network.port)
            place.slack = 0.0 if place.keeps_lists else 2.0 * LEASE
        yield place


@contextmanager
def database_for(kind: str) -> Iterator[dict[str, str]]:
    """The environment of a run on this kind, whose database may need a private server."""
    name = NEEDS[kind]
    with ExitStack() as stack:
        environment = {"QTEST_DATABASE": name}
        if name in SERVERS:
            environment |= stack.enter_context(SERVERS[name]()).environment()
        yield environment


def environment_of(network: Proxy) -> dict[str, str]:
    """For the database seen through this network, see settings.py."""
    return {"QTEST_FAULTS": json.dumps({"PORT": str(network.port)})}


def settings_of(server: Server, port: int) -> dict[str, Any]:
    """Q_CLUSTER for this server, seen through this port."""
    there = server.url.replace(str(server.port), str(port))
    if isinstance(server, SqsServer):
        return {"orm": None, "sqs": server.settings | {"endpoint_url": there}}
    return {"orm": None, "redis": there}
