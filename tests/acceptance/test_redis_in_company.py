"""Whole clusters on a Redis Cluster, and on a Redis whose master fails."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from django_q.status import Stat
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.redis_servers import RedisClusterServer, WatchedRedis

pytestmark = pytest.mark.once

WORKERS = 2
TASKS = 80


def start(new_cluster: Runner, q_settings: Any, way: dict[str, Any]) -> RunningCluster:
    q_settings(orm=None, redis=way)
    settings = {"orm": None, "redis": way, "workers": WORKERS, "retry": 4}
    cluster = new_cluster(**settings)
    cluster.start().wait_until_running()
    return cluster


def test_tasks_run_on_a_redis_cluster_and_a_killed_cluster_loses_none(
    redis_cluster: RedisClusterServer,
    new_cluster: Runner,
    q_settings: Any,
    diary: Diary,
) -> None:
    way = {"startup_nodes": redis_cluster.addresses}
    first = start(new_cluster, q_settings, way)
    ids = first.send_many(TASKS, functions.log_and_sleep, diary.path, 0.01)
    diary.wait_until_begun(20)
    first.kill_everything()
    settings = {"orm": None, "redis": way, "retry": 4, "cluster_name": first.queue}
    second = new_cluster(workers=WORKERS, **settings)
    second.start()
    rows = second.wait_for_all(ids, within=40)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == TASKS
    assert diary.extra_ends() <= 2 * WORKERS
    second.works()
    with closing(second.broker()) as broker:
        assert Stat.get_all(broker)
    redis_cluster.flush()


def test_master_fails_and_the_cluster_goes_on_with_its_replica(
    watched_redis: WatchedRedis, new_cluster: Runner, q_settings: Any, diary: Diary
) -> None:
    """What the replica had copied is executed; what ran, is saved."""
    cluster = start(new_cluster, q_settings, watched_redis.settings)
    ids = cluster.send_many(TASKS, functions.log_and_sleep, diary.path, 0.05)
    diary.wait_until_begun(10)
    roles = {role: cluster.pids(role) for role in ("pusher", "monitor")}
    # Waits until the replica has all of them.
    watched_redis.fail_over()
    rows = cluster.wait_for_all(ids, within=60)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == TASKS
    assert {role: cluster.pids(role) for role in roles} == roles
    cluster.works()
    assert cluster.stop() == 0
