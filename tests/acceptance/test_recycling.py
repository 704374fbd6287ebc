"""Workers that have done enough, or have grown too large, make room."""

from __future__ import annotations

import resource
import sys
from collections import Counter

import pytest

from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary
from tests.waiting import wait_until


@pytest.mark.every_database
def test_worker_leaves_after_its_number_of_tasks_and_nothing_is_lost(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(recycle=5)
    ids = cluster.send_many(60, functions.log, diary.path)
    rows = cluster.wait_for_all(ids)
    assert all(row.success and row.attempt_count == 1 for row in rows)
    runs = Counter(harmful.pids(diary.path))
    assert runs.total() == 60
    assert max(runs.values()) == 5
    wait_until(cluster.is_whole)
    stat = cluster.stat()
    assert stat is not None
    assert stat.reincarnations >= 60 // 5 - 2
    assert cluster.says("INFO recycled worker")
    assert not cluster.says("ERROR")
    assert cluster.stop() == 0


def test_worker_that_grew_too_large_leaves(
    running_cluster: Runner, diary: Diary
) -> None:
    # Our own size is a fair guess at a worker's; a lean one stays below twice that.
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = 2 * (size // 1024 if sys.platform == "darwin" else size)
    cluster = running_cluster(workers=1, max_rss=limit)
    cluster.wait_for_all([cluster.send(functions.add, 1, n) for n in range(10)])
    lean = cluster.pids("worker")
    task = f"{harmful.__name__}.eat_memory"
    megabytes = 2 * limit // 1024
    ids = [cluster.send(task, diary.path, megabytes) for _ in range(2)]
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    pids = harmful.pids(diary.path)
    assert pids[0] == lean[0]
    assert len(set(pids)) == 2
    assert cluster.says("INFO recycled worker")
    assert not cluster.says("ERROR")
    wait_until(cluster.is_whole)
