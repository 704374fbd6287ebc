"""Whole clusters on Redis: nothing is lost, whatever dies."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis as Client

from django_q.brokers.redis_broker import Redis
from django_q.envelope import Envelope
from django_q.models import Task
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.servers import RedisServer
from tests.waiting import wait_until

pytestmark = pytest.mark.once

LEASE = 2
WORKERS = 2

Start = Callable[..., "OnRedis"]


class OnRedis(RunningCluster):
    """A cluster whose queue is a list of Redis."""

    def waiting(self) -> int:
        """Packages in the list."""
        with closing(self.broker()) as broker:
            return broker.queue_size()


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    yield redis_server
    with Client.from_url(redis_server.url) as client:
        client.flushdb()


@pytest.fixture
def start(server: RedisServer, new_cluster: Runner, q_settings: Any) -> Start:
    q_settings(orm=None, redis=server.url)

    def run(**settings: Any) -> OnRedis:
        settings = {"orm": None, "redis": server.url, "retry": LEASE, **settings}
        cluster = new_cluster(kind=OnRedis, workers=WORKERS, **settings)
        assert isinstance(cluster, OnRedis)
        cluster.start()
        return cluster

    return run


@pytest.fixture
def cluster(start: Start) -> OnRedis:
    cluster = start()
    cluster.wait_until_running()
    return cluster


def test_tasks_run_and_their_results_are_saved(cluster: OnRedis, diary: Diary) -> None:
    ids = cluster.send_many(100, functions.log_and_sleep, diary.path, 0)
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert set(diary.of("start").values()) == {1}
    cluster.works()


def test_package_that_an_older_producer_pushes_runs(
    cluster: OnRedis, server: RedisServer
) -> None:
    envelope = Envelope.from_call("tests.functions.add", (20, 22), {}, {})
    with Client.from_url(server.url) as client:
        client.rpush(f"django_q:{cluster.queue}:q", envelope.seal())
    assert cluster.wait_for(envelope.id).result == 42


def test_tasks_with_priorities_survive_the_cluster_that_held_them(
    start: Start, diary: Diary
) -> None:
    queue = f"ranked-{uuid4().hex[:6]}"
    first = start(cluster_name=queue)
    first.wait_until_running()
    calls = [(diary.path, f"w{number}", 0.01) for number in range(120)]
    tasks = [
        Envelope.from_call("tests.functions.log_and_sleep", call, {}, {})
        for call in calls
    ]
    with closing(first.broker()) as broker:
        assert isinstance(broker, Redis)
        # Those of an older producer in between have none.
        for number, task in enumerate(tasks):
            if priority := number % 3 - 1:
                broker.enqueue(task.seal(), task_id=task.id, priority=priority)
            else:
                broker.connection.rpush(broker.list_key, task.seal())
    diary.wait_until_begun(20)
    first.kill_everything()
    second = start(cluster_name=queue)
    rows = second.wait_for_all([task.id for task in tasks], within=40)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == len(tasks)
    assert diary.extra_ends() <= 2 * WORKERS


def test_killed_worker_costs_nothing(cluster: OnRedis, diary: Diary) -> None:
    ids = cluster.send_many(12, functions.log_and_sleep, diary.path, 0.2)
    diary.wait_until_begun(3)
    cluster.kill("worker")
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == len(ids)


def test_killed_pusher_costs_nothing(cluster: OnRedis, diary: Diary) -> None:
    """Idle, it waits in Redis; its successor takes what was moved for it."""
    cluster.kill("pusher")
    ids = cluster.send_many(12, functions.log_and_sleep, diary.path, 0.1)
    diary.wait_until_begun(3)
    cluster.kill("pusher")
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == len(ids)


def test_stopping_cluster_gives_back_at_once(cluster: OnRedis, diary: Diary) -> None:
    ids = cluster.send_many(12, functions.log_and_sleep, diary.path, 1.5)
    diary.wait_until_begun(WORKERS)
    cluster.terminate(signal.SIGTERM)
    wait_until(lambda: cluster.waiting() == 12 - WORKERS, within=1)
    assert not diary.of("end"), "given back only when what ran had ended"
    assert cluster.wait_for_end() == 0
    assert Task.objects.filter(id__in=ids, success=True).count() == WORKERS
    assert cluster.waiting() == 12 - WORKERS


def test_two_clusters_share_a_queue(start: Start, diary: Diary) -> None:
    queue = f"shared-{uuid4().hex[:6]}"
    both = [start(cluster_name=queue) for _ in range(2)]
    one, other = [cluster.wait_until_running() for cluster in both]
    # Longer than the lease, which is renewed meanwhile.
    ids = [one.send(functions.log_and_sleep, diary.path, "long", 1.5 * LEASE)]
    ids += one.send_many(60, functions.log_and_sleep, diary.path, 0.02)
    one.wait_for_all(ids)
    assert set(diary.of("start").values()) == {1}
    assert one.says("log_and_sleep")
    assert other.says("log_and_sleep")


def test_no_connection_belongs_to_two_processes(
    start: Start, server: RedisServer
) -> None:
    cluster = start(start_method="fork")
    # Python 3.12 and newer say so of any fork beside a thread, and the lifeline is one.
    cluster.complaints = "multi-threaded, use of fork"
    cluster.wait_until_running()
    cluster.works()

    def connections(member: Any) -> Iterator[Any]:
        # Its name since psutil 6, and before.
        look = getattr(member, "net_connections", None) or member.connections
        for each in look(kind="tcp"):
            if each.raddr and each.raddr.port == server.port:
                yield each

    found = [
        (connection.laddr.port, member.pid)
        for member in cluster.members()
        for connection in connections(member)
    ]
    ports = [port for port, _pid in found]
    assert len({pid for _port, pid in found}) >= 3
    assert len(ports) == len(set(ports)), found


def test_server_is_restarted_while_the_cluster_is_idle(
    new_cluster: Runner, q_settings: Any
) -> None:
    if RedisServer.programs() is None:
        pytest.skip("redis-server is not installed")
    with RedisServer() as server:
        q_settings(orm=None, redis=server.url)
        settings = {"orm": None, "redis": server.url, "workers": WORKERS}
        cluster = new_cluster(kind=OnRedis, **settings)
        cluster.start().wait_until_running()
        cluster.works()
        roles = {role: cluster.pids(role) for role in ("pusher", "monitor")}
        server.restart()
        cluster.works()
        assert {role: cluster.pids(role) for role in roles} == roles
        assert cluster.stop() == 0
