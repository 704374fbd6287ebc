"""Whole clusters on Disque and IronMQ: nothing is lost, and long tasks run once.

On the servers of tests/benches, which only speak their protocols; on a real Disque where
there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import functions
from tests.acceptance import brokers
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.benches.disque_server import DisqueServer, Jobs
from tests.benches.iron_server import IronServer
from tests.benches.real_disque import PROGRAM, RealDisque
from tests.waiting import wait_until

pytestmark = pytest.mark.once

LEASE = 2
WORKERS = 2

Start = Callable[..., RunningCluster]


def starting(new_cluster: Runner, q_settings: Any, **chosen: Any) -> Start:
    # A job of Disque has its RETRY from whoever queues it.
    q_settings(orm=None, retry=LEASE, **chosen)

    def run(**settings: Any) -> RunningCluster:
        settings = {"orm": None, "retry": LEASE, **chosen, **settings}
        cluster = new_cluster(workers=WORKERS, **settings)
        cluster.start().wait_until_running()
        return cluster

    return run


@pytest.fixture
def node() -> Iterator[DisqueServer | RealDisque]:
    with RealDisque() if PROGRAM else DisqueServer() as node:
        yield node


@pytest.fixture
def on_disque(
    node: DisqueServer | RealDisque, new_cluster: Runner, q_settings: Any
) -> Start:
    return starting(new_cluster, q_settings, disque_nodes=[node.address])


def test_task_on_disque_runs_once_also_when_it_takes_longer_than_retry(
    on_disque: Start, diary: Diary, task_log: str
) -> None:
    cluster = on_disque(max_attempts=3, retry_delay=0.1)
    long = cluster.send(functions.log_and_sleep, diary.path, "long", LEASE * 2)
    flaky = cluster.send(functions.flaky, task_log)
    rows = cluster.wait_for_all([long, flaky])
    assert all(row.success for row in rows)
    assert set(diary.of("start").values()) == {1}
    assert cluster.stop() == 0


def test_cluster_on_disque_goes_on_when_one_of_its_nodes_dies(
    new_cluster: Runner, q_settings: Any, diary: Diary
) -> None:
    jobs = Jobs()
    with DisqueServer(jobs) as one, DisqueServer(jobs) as two:
        nodes = [one.address, two.address]
        cluster = starting(new_cluster, q_settings, disque_nodes=nodes)()
        ids = cluster.send_many(40, functions.log_and_sleep, diary.path, 0.02)
        diary.wait_until_begun(5)
        one.stop()
        assert all(row.success for row in cluster.wait_for_all(ids, within=40))
        assert cluster.stop() == 0


def test_long_task_on_ironmq_runs_once_and_is_removed_by_who_renewed_it(
    new_cluster: Runner, q_settings: Any, diary: Diary
) -> None:
    with IronServer(shortest=1) as service:
        own = {"broker_class": f"{brokers.__name__}.Brief"}
        start = starting(new_cluster, q_settings, iron_mq=service.settings, **own)
        cluster = start()
        long = cluster.send(functions.log_and_sleep, diary.path, "long", LEASE * 2)
        assert cluster.wait_for(long).success
        wait_until(cluster.queue_is_empty)
        assert set(diary.of("start").values()) == {1}
        assert any(path.endswith("/touch") for _verb, path, _body in service.said)
        assert cluster.stop() == 0
