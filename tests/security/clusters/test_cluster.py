"""What only a whole cluster can show, of the rows 1, 3, 4, 19, 21, 24, 27 and 28."""

from __future__ import annotations

import stat
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest

from django_q import clock
from django_q.brokers import get_broker
from django_q.envelope import Envelope
from django_q.models import Task
from django_q.signing import PickleSerializer, SignedPackage
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import RunningCluster
from tests.security import tasks
from tests.security.harm import Bomb
from tests.security.test_secrets import FORGED, judge
from tests.waiting import wait_until

CLUSTER = {"workers": 2, "timeout": 20, "max_task_age": 3600}
COMPLAINTS = "good"


@pytest.fixture
def workers(cluster: RunningCluster) -> list[int]:
    wait_until(cluster.is_whole)
    return cluster.pids("worker")


def test_s01_s03_bad_packages_are_removed_unopened_and_nobody_dies(
    cluster: RunningCluster, workers: list[int], bomb: Bomb
) -> None:
    data = PickleSerializer.dumps(bomb)
    package = SignedPackage.dumps(bomb)
    said = cluster.count("rejected package")
    bad = ["garbage", data.hex(), package[:-1], f"A{package}", "x" * 11_000_000]
    for text in bad:
        get_broker(cluster.queue).enqueue(text)
    cluster.works()
    wait_until(lambda: cluster.count("rejected package") >= said + len(bad))
    assert cluster.queue_is_empty()
    assert not bomb.has_exploded
    assert package[:20] not in cluster.log
    assert cluster.pids("worker") == workers


def test_s04_copy_of_a_package_is_of_no_use_when_it_is_old(
    cluster: RunningCluster,
) -> None:
    row = cluster.wait_for(cluster.send(functions.add, 20, 22))
    then = clock.now() - timedelta(days=1)
    task = Envelope(id=row.id, name="copy", func="tests.functions.fail", started=then)
    get_broker(cluster.queue).enqueue(task.seal())
    wait_until(lambda: cluster.says(r"✕ tests.functions.fail \[copy\] failed: It was"))
    cluster.works()
    again = Task.objects.get(id=row.id)
    assert (again.success, again.result, again.name) == (True, 42, row.name)

    get_broker(cluster.queue).enqueue(
        Envelope(id="d" * 32, name="alone", func="math.sqrt", started=then).seal()
    )
    alone = cluster.wait_for("d" * 32)
    assert not alone.success
    assert "max_task_age" in alone.result


def test_s19_no_line_of_its_log_is_forged(cluster: RunningCluster) -> None:
    row = cluster.wait_for(
        cluster.send(tasks.fail_with, FORGED, task_name=FORGED, group=FORGED)
    )
    assert not row.success
    wait_until(lambda: cluster.says("✕ tests.security.tasks.fail_with"))
    judge(cluster.log)


def test_s21_titles_of_its_processes_tell_no_arguments(
    cluster: RunningCluster,
) -> None:
    # A worker that has run short tasks so far shows only those after a longer one.
    ids = [cluster.send(functions.sleep, 0.25) for _ in range(6)]
    seen: set[str] = set()

    def shows_task() -> bool:
        for member in cluster.members():
            with suppress(psutil.NoSuchProcess):
                seen.add(" ".join(member.cmdline()))
        return any("tests.functions.sleep" in title for title in seen)

    wait_until(shows_task)
    assert not [title for title in seen if "0.25" in title]
    cluster.wait_for_all(ids)


class Vanished:
    """As a class that only a newer version of the project has."""

    def __reduce__(self) -> Any:
        return import_module, ("shop_of_tomorrow",)


def test_s24_package_of_a_newer_version_harms_nobody(
    cluster: RunningCluster, workers: list[int]
) -> None:
    pusher = cluster.pids("pusher")
    row = cluster.wait_for(cluster.send(functions.echo, Vanished()))
    assert not row.success
    assert "shop_of_tomorrow" in row.result
    contents: list[Any] = [None, [], {"id": 1}, {"a": object()}]
    for content in contents:
        get_broker(cluster.queue).enqueue(SignedPackage.dumps(content))
    wait_until(cluster.queue_is_empty)
    cluster.works()
    assert cluster.pids("worker") == workers
    assert cluster.pids("pusher") == pusher


def test_s27_sockets_are_in_folders_of_its_own(cluster: RunningCluster) -> None:
    names = {
        str(connection.laddr)
        for member in cluster.members()
        for connection in member.net_connections("unix")
    }
    folders = {Path(name).parent for name in names if name.startswith("/")}
    assert [folder for folder in folders if not is_private(folder)] == []


def is_private(folder: Path) -> bool:
    return not stat.S_IMODE(folder.stat().st_mode) & 0o077


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_s28_program_of_a_task_has_nothing_of_the_cluster_open(
    running_cluster: Runner, method: str
) -> None:
    cluster = running_cluster(start_method=method)
    cluster.complaints = "use of fork"
    row = cluster.wait_for(cluster.send(tasks.list_descriptors_of_a_program))
    assert sorted(row.result) == [0, 1, 2], row.result
