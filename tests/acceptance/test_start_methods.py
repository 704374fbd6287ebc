"""fork, forkserver and spawn: the same cluster."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import psutil
import pytest

from django_q.models import Task
from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import ROLES, Diary, RunningCluster
from tests.waiting import wait_until

METHODS = multiprocessing.get_all_start_methods()

STARTS_WITHIN = 30
"""Seconds: each spawned process loads Python, Django and the project anew."""


@pytest.mark.every_database
@pytest.mark.parametrize("method", METHODS)
def test_cluster_works_survives_and_stops(
    running_cluster: Runner, diary: Diary, method: str
) -> None:
    cluster = running_cluster(start_method=method, retry=3)
    cluster.complaints = "CRITICAL.*sentinel ended"
    ids = cluster.send_many(30, functions.log_and_sleep, diary.path, 0.03)
    diary.wait_until_begun(4)
    for role in ("worker", "monitor", "pusher"):
        cluster.kill(role)
        wait_until(cluster.is_whole, within=STARTS_WITHIN)
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == 30
    cluster.kill("sentinel")
    cluster.works(within=STARTS_WITHIN)
    wait_until(cluster.is_whole, within=STARTS_WITHIN)
    cluster.send(functions.log_and_sleep, diary.path, "last", 0.5)
    wait_until(lambda: diary.of("start")["last"])
    pids = {pid for role in ROLES for pid in cluster.pids(role)}
    assert {pid for pid in pids if holds_lock_file(cluster, pid)} == pids
    assert cluster.stop() == 0
    assert diary.of("end")["last"] == 1
    assert not list(lock_folder(cluster).iterdir())


def holds_lock_file(cluster: RunningCluster, pid: int) -> bool:
    """Also after those before it have died: that it lives can be seen."""
    files = [Path(file.path) for file in psutil.Process(pid).open_files()]
    return lock_folder(cluster) in [file.parent for file in files]


def lock_folder(cluster: RunningCluster) -> Path:
    return cluster.folder / "django-q"


@pytest.mark.parametrize("method", METHODS)
def test_killed_root_leaves_no_orphan(
    running_cluster: Runner, diary: Diary, method: str
) -> None:
    cluster = running_cluster(start_method=method)
    cluster.complaints = "CRITICAL"
    cluster.send(functions.log_and_sleep, diary.path, "long", 60)
    diary.wait_until_begun()
    cluster.terminate(signal.SIGKILL)
    cluster.process.wait(5)
    cluster.wait_until_gone(within=8)


@pytest.mark.parametrize("method", METHODS)
def test_forked_workers_have_what_was_imported_early(
    running_cluster: Runner, method: str
) -> None:
    path = "tests.acceptance.imported"
    how = {"start_method": method, "preload": [path], "workers": 1, "recycle": 1}
    cluster = running_cluster(**how)
    ids = [cluster.send(f"{path}.processes") for _ in range(3)]
    told = [row.result for row in cluster.wait_for_all(ids)]
    workers = {worker for _, worker in told}
    importers = {importer for importer, _ in told}
    assert len(workers) == 3
    if method == "spawn":
        assert importers == workers
    else:
        assert len(importers) == 1
        assert not importers & workers
    assert (cluster.process.pid in importers) is (method == "fork")


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_worker_has_threads_for_tasks_only_where_it_runs_several(
    running_cluster: Runner, method: str, concurrency: int
) -> None:
    how = {"start_method": method, "workers": 1, "concurrency": concurrency}
    cluster = running_cluster(**how)
    path = "tests.acceptance.imported.is_frozen"
    row = cluster.wait_for(cluster.send(path, "django_q.execution.threads"))
    assert row.result is (None if concurrency == 1 else method != "spawn")


@pytest.mark.parametrize("method", METHODS)
def test_name_on_the_command_line_reaches_all_children(
    new_cluster: Runner, method: str
) -> None:
    alternatives = {"mail": {"timeout": 33, "workers": 1}}
    how = {"start_method": method, "ALT_CLUSTERS": alternatives}
    cluster = new_cluster("--run-once", "--name", "mail", **how)
    cluster.queue = "mail"
    task = cluster.send(harmful.read_conf, "CLUSTER_NAME", "PREFIX", "TIMEOUT")
    assert cluster.start().wait_for_end() == 0
    row = Task.objects.get(id=task)
    assert (row.cluster, row.result) == ("mail", ["mail", "tests", 33])
