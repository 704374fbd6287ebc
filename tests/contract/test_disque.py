"""The Disque broker keeps the contract of all brokers.

There is no Disque to install. These tests talk to the server of
tests/benches/disque_server.py, which speaks its protocol as the documentation and the
sources of Disque tell it: a real server was not run. Where there is one (see
tests/benches/real_disque.py), they run on that as well, and take minutes: its time can't
be moved on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from django_q.brokers import Broker
from django_q.brokers.disque import Disque
from tests.benches.disque_server import DisqueServer
from tests.benches.real_disque import PROGRAM, RealDisque
from tests.contract.brokers import BrokerContract


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
        q_settings(disque_nodes=[real_disque.address], orm=None)

    def make_broker(self, queue: str) -> Broker:
        return Disque(queue)

    def pass_time(self, broker: Broker, seconds: float) -> None:
        time.sleep(seconds + 1)
