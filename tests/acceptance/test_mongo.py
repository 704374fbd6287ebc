"""Whole clusters on MongoDB: nothing is lost, and a long task stays with its cluster.

On the server of tests/benches/mongo_server.py; see tests/contract/test_mongo.py.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.benches.mongo_server import MongoServer

pytestmark = pytest.mark.once

LEASE = 1
WORKERS = 2

Start = Callable[..., RunningCluster]


@pytest.fixture
def server() -> Iterator[MongoServer]:
    with MongoServer(replica_set="rs0") as server:
        yield server


@pytest.fixture
def start(server: MongoServer, new_cluster: Runner, q_settings: Any) -> Start:
    q_settings(orm=None, mongo=server.settings, retry=LEASE)

    def run(**settings: Any) -> RunningCluster:
        settings = {"orm": None, "mongo": server.settings, "retry": LEASE, **settings}
        cluster = new_cluster(workers=WORKERS, **settings)
        cluster.start().wait_until_running()
        return cluster

    return run


def test_tasks_run_once_also_when_they_take_longer_than_retry(
    start: Start, diary: Diary
) -> None:
    cluster = start()
    ids = [cluster.send(functions.log_and_sleep, diary.path, "long", LEASE + 1.5)]
    ids += cluster.send_many(40, functions.log_and_sleep, diary.path, 0)
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert set(diary.of("start").values()) == {1}
    cluster.works()
    cluster.terminate(signal.SIGTERM)
    assert cluster.wait_for_end(within=10) == 0
    cluster.complain_if_it_complained()
