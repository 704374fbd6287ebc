"""Health checks: the documented server, and what other probes ask of the vital signs."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from django_q.brokers import get_broker
from django_q.clock import now
from django_q.conf import Conf
from django_q.status import Stat
from tests.unit.test_docs import DOCS, add_to_module, blocks

pytestmark = pytest.mark.django_db


def cluster(status: str = "Idle", **vitals: Any) -> Stat:
    """A cluster that says of itself that it runs."""
    given: dict[str, Any] = {
        "tob": now(),
        "workers": range(1, Conf.WORKERS + 1),
        "status": status,
    }
    stat = Stat.of(cluster_id=uuid4(), pid=os.getpid(), **(given | vitals))
    stat.publish(get_broker(), 60)
    return stat


@pytest.fixture
def probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[type[BaseHTTPRequestHandler]]:
    """The handler of the server in the documents."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    code = {block.caption: block for block in blocks(DOCS / "monitor.rst")}
    for name in ("shop/health.py", "shop/probe.py"):
        add_to_module(code[name], tmp_path)
    yield sys.modules["shop.probe"].Probe
    for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
        del sys.modules[name]


def ask(handler: type[BaseHTTPRequestHandler]) -> int:
    """The status with which a server that has this handler answers."""
    with (
        HTTPServer(("127.0.0.1", 0), handler) as server,
        ThreadPoolExecutor(1) as elsewhere,
    ):
        answer = elsewhere.submit(get_status, server.server_port)
        server.handle_request()
        return answer.result(10)


def get_status(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def test_server_says_500_while_there_is_no_cluster(probe: Any) -> None:
    assert ask(probe) == 500


def test_server_says_200_while_all_clusters_work_or_wait(probe: Any) -> None:
    cluster("Idle")
    cluster("Working")

    assert ask(probe) == 200


@pytest.mark.parametrize("state", ["Starting", "Stopping", "Stopped"])
def test_server_says_500_while_one_cluster_does_not(probe: Any, state: str) -> None:
    cluster("Idle")
    cluster(state)

    assert ask(probe) == 500


def test_other_probes_find_what_they_ask_for() -> None:
    cluster()

    stats = Stat.get_all()

    assert len(stats) > 0
    assert all(stat.status in (Conf.IDLE, Conf.WORKING) for stat in stats)
    assert [len(stat.workers) for stat in stats] == [Conf.WORKERS]
    assert [stat.host for stat in stats] == [socket.gethostname()]
    assert all(now() - stat.timestamp < timedelta(minutes=1) for stat in stats)
