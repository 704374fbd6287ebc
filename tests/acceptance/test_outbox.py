"""A process dies between its commit and the broker: a cluster sends what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Client

from django_q.models import OutboxEntry, Task
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import HOUSE, Diary, RunningCluster
from tests.servers import RedisServer
from tests.waiting import wait_until

PRODUCE = """
import sys
import django
django.setup()
from django.db import transaction
from django_q.tasks import async_task
path, word = sys.argv[1:]
with transaction.atomic():
    async_task("tests.functions.log_and_sleep", path, word, 0)
"""


class OnRedis(RunningCluster):
    def queue_is_empty(self) -> bool:
        with closing(self.broker()) as broker:
            return broker.queue_size() + broker.lock_size() == 0


@pytest.fixture
def cluster(
    redis_server: RedisServer, new_cluster: Runner, q_settings: Any
) -> Iterator[RunningCluster]:
    place = {"orm": None, "redis": redis_server.url}
    q_settings(**place)
    yield new_cluster(kind=OnRedis, **place)
    with Client.from_url(redis_server.url) as client:
        client.flushdb()


def produce(cluster: RunningCluster, folder: Path, dies: str, path: str) -> int:
    """Queue a task in a process that dies where it sends it; gives its exit code."""
    deadly = {"broker_class": "tests.acceptance.brokers.Deadly", "outbox": True}
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.settings",
        "QTEST_CACHE": str(folder / "cache"),
        "QTEST_CLUSTER": json.dumps(cluster.settings | deadly),
        "QTEST_DIES": dies,
        "QTEST_SIGNALS": str(cluster.signals_file),
    }
    command = [sys.executable, "-c", PRODUCE, path, dies]
    return subprocess.run(command, cwd=HOUSE, env=environment, check=False).returncode


@pytest.mark.every_database
def test_task_of_a_process_that_dies_sending_it_runs_exactly_once(
    cluster: RunningCluster, diary: Diary, tmp_path: Path
) -> None:
    for dies in ("before", "after"):
        assert produce(cluster, tmp_path, dies, diary.path) == -signal.SIGKILL
    assert OutboxEntry.objects.count() == 2
    with closing(cluster.broker()) as broker:
        assert broker.queue_size() == 1

    cluster.start()
    wait_until(lambda: Task.objects.count() == 2, 30)
    wait_until(lambda: not OutboxEntry.objects.exists(), 30)
    wait_until(cluster.queue_is_empty)
    assert diary.of("start") == {"before": 1, "after": 1}
    # The next task comes after whatever the outbox could have sent twice.
    cluster.works()
    assert diary.of("start") == {"before": 1, "after": 1}
