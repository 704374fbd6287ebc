"""The MongoDB broker keeps the contract of all brokers.

There is no MongoDB to install. These tests talk to the server of
tests/benches/mongo_server.py, which speaks its protocol and was written from its
documentation: a real server was not run. Where there is one, as `mongod` on the path or
as the program that MONGOD names, they run on that as well.

A second opinion: by hand they passed on the server of the package mongoeco 4.11, which others
wrote, as one that stands alone. It wants Python 3.13 and libraries that nothing else here does,
so they don't install it. The double mongomock is none: it knows neither the server's clock nor
updates by pipelines, which every claim is made of.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

from django_q.brokers import Broker
from django_q.brokers.mongo import Mongo
from tests.benches.mongo_server import MongoServer
from tests.contract.brokers import BrokerContract
from tests.servers import Server

PROGRAM = shutil.which(os.environ.get("MONGOD") or "mongod")


def collection_of(broker: Broker) -> Any:
    client: MongoClient[Any] = broker.connection
    return client["django-q"][broker.list_key]


class OfMongo(BrokerContract):
    def make_broker(self, queue: str) -> Broker:
        return Mongo(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        queue = collection_of(broker)
        for name in ("lock", "leased", "due"):
            is_there = {name: {"$gt": datetime(1970, 1, 1)}}
            earlier = {"$subtract": [f"${name}", int(seconds * 1000)]}
            queue.update_many(is_there, [{"$set": {name: earlier}}])

    def count_held(self, broker: Broker) -> int:
        held: int = collection_of(broker).count_documents({"holder": {"$gt": ""}})
        return held


class TestMongo(OfMongo):
    replica_set = ""
    server_tells_news = False

    @pytest.fixture(autouse=True)
    def _server(self, q_settings: Any) -> Iterator[None]:
        with MongoServer(replica_set=self.replica_set) as server:
            q_settings(mongo=server.settings, orm=None)
            yield


class TestMongoReplicaSet(TestMongo):
    """A server that tells of changes; writes are repeated by the client."""

    replica_set = "rs0"
    server_tells_news = True


class RealMongo(Server):
    """mongod, alone."""

    title = "MongoDB"
    database = "mongo"
    packages = ()
    account = "mongodb"

    @classmethod
    def programs(cls) -> dict[str, Path] | None:
        return {"server": Path(PROGRAM)} if PROGRAM else None

    def prepare(self) -> None:
        self.data.mkdir()
        self.give_away(self.data)

    def command(self) -> list[str]:
        where = ["--port", str(self.port), "--dbpath", str(self.data)]
        return [str(self.program("server")), "--bind_ip", "127.0.0.1", *where]

    @property
    def settings(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port}

    def answers(self) -> bool:
        keywords = {**self.settings, "serverSelectionTimeoutMS": 200}
        client: MongoClient[Any] = MongoClient(**keywords)
        try:
            return bool(client.admin.command("ping")["ok"])
        except ConnectionFailure:
            return False
        finally:
            client.close()


@pytest.fixture(scope="module")
def real_mongo() -> Iterator[RealMongo]:
    if PROGRAM is None:
        pytest.skip("there is no mongod")
    with RealMongo() as server:
        yield server


class TestRealMongo(OfMongo):
    server_tells_news = False

    @pytest.fixture(autouse=True)
    def _real(self, real_mongo: RealMongo, q_settings: Any) -> None:
        q_settings(mongo=real_mongo.settings, orm=None)
