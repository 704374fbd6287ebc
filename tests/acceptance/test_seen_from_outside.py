"""What other programs see of a cluster: ps, and Prometheus."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.functions import words
from tests.waiting import wait_until

GAUGE = f"{harmful.__name__}.gauge_and_sleep"


def test_title_tells_what_a_worker_does_and_gauges_of_the_dead_do_not_count(
    new_cluster: Runner, diary: Diary, tmp_path: Path
) -> None:
    gauges = tmp_path / "gauges"
    gauges.mkdir()
    cluster = new_cluster(workers=1, max_deliveries=1)
    cluster.environment["PROMETHEUS_MULTIPROC_DIR"] = str(gauges)
    cluster.start().wait_until_running()
    assert title_of_worker(cluster) == "qcluster tests worker 1: idle"

    task = cluster.send(GAUGE, diary.path, 60)
    wait_until(lambda: len(words(diary.path)) == 1)
    assert title_of_worker(cluster) == f"qcluster tests worker 1: {GAUGE}"
    (file,) = gauges.glob("gauge_liveall_*.db")
    assert file.name == f"gauge_liveall_{cluster.kill('worker')}.db"
    wait_until(lambda: not file.exists())
    assert not cluster.wait_for(task).success

    # The first task of the new worker gives it a title too, and it is idle again.
    cluster.works()
    wait_until(lambda: title_of_worker(cluster).endswith(": idle"))


def title_of_worker(cluster: RunningCluster) -> str:
    """What ps shows of it; nothing while there is none."""
    (pid,) = cluster.pids("worker")
    if not cluster.has(pid):
        return ""
    return " ".join(psutil.Process(pid).cmdline()).strip()
