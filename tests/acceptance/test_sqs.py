"""Whole clusters on Amazon SQS: nothing is lost, and stopping waits for no question."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.servers import SqsServer

pytestmark = pytest.mark.once

LEASE = 2
WORKERS = 2

Start = Callable[..., RunningCluster]


@pytest.fixture
def start(sqs_server: SqsServer, new_cluster: Runner, q_settings: Any) -> Start:
    q_settings(orm=None, sqs=sqs_server.settings)

    def run(**settings: Any) -> RunningCluster:
        settings = {"orm": None, "sqs": sqs_server.settings, "retry": LEASE, **settings}
        cluster = new_cluster(workers=WORKERS, **settings)
        cluster.start().wait_until_running()
        return cluster

    return run


def test_tasks_run_once_also_when_they_take_longer_than_retry(
    start: Start, diary: Diary
) -> None:
    cluster = start()
    ids = [cluster.send(functions.log_and_sleep, diary.path, "long", LEASE + 2)]
    ids += cluster.send_many(40, functions.log_and_sleep, diary.path, 0)
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert set(diary.of("start").values()) == {1}
    # Idle, it has a question open for up to 20 seconds, which a task answers.
    cluster.works()
    cluster.terminate(signal.SIGTERM)
    assert cluster.wait_for_end(within=10) == 0
    cluster.complain_if_it_complained()
