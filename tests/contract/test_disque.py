"""The Disque broker keeps the contract of all brokers.

There is no Disque to install. These tests talk to the server of
tests/benches/disque_server.py, which speaks its protocol as the documentation and the
sources of Disque tell it: a real server was not run. Where there is one, as `disque-server` on the
path or as the program that DISQUE_SERVER names, they run on that as well, and take
minutes: its time can't be moved on.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_q.brokers import Broker
from django_q.brokers.disque import Disque
from tests.benches.disque_server import DisqueServer
from tests.contract.brokers import BrokerContract
from tests.servers import Server

PROGRAM = shutil.which(os.environ.get("DISQUE_SERVER") or "disque-server")


class TestDisque(BrokerContract):
    tells_next_due = False

    @pytest.fixture(autouse=True)
    def _server(self, q_settings: Any) -> Iterator[None]:
        with DisqueServer() as self.server:
            q_settings(disque_nodes=[self.server.address], orm=None)
            yield

    def make_broker(self, queue: str) -> Broker:
        return Disque(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        self.server.jobs.skip(seconds)


class RealDisque(Server):
    """disque-server, which writes nothing to disk."""

    title = "Disque"
    database = "disque"
    packages = ()
    account = "redis"

    @classmethod
    def programs(cls) -> dict[str, Path] | None:
        return {"server": Path(PROGRAM)} if PROGRAM else None

    def prepare(self) -> None:
        self.data.mkdir()
        self.give_away(self.data)

    def command(self) -> list[str]:
        where = ["--port", str(self.port), "--dir", str(self.data)]
        return [str(self.program("server")), *where]

    def answers(self) -> bool:
        broker = Disque("ping")
        broker.connection = Disque.get_connection()
        broker.connection.addresses = [("127.0.0.1", self.port)]
        try:
            return broker.ping()
        except ConnectionError:
            return False
        finally:
            broker.close()


@pytest.fixture(scope="module")
def real_disque() -> Iterator[RealDisque]:
    if PROGRAM is None:
        pytest.skip("there is no disque-server")
    with RealDisque() as server:
        yield server


class TestRealDisque(BrokerContract):
    tells_next_due = False

    @pytest.fixture(autouse=True)
    def _real(self, real_disque: RealDisque, q_settings: Any) -> None:
        q_settings(disque_nodes=[f"127.0.0.1:{real_disque.port}"], orm=None)

    def make_broker(self, queue: str) -> Broker:
        return Disque(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        time.sleep(seconds + 1)
