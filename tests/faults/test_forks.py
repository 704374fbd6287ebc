"""Row 54: what processes that come of each other have in common."""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.acceptance.harness import ROLES, RunningCluster
from tests.faults.bench import WORKERS, Bench
from tests.waiting import wait_until

row = pytest.mark.row


class Prepared(RunningCluster):
    """Its program has connections open before there is a cluster."""

    program = ("-m", "tests.faults.program")


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=row(54, f"{method} with open connections, a thread"))
        for method in multiprocessing.get_all_start_methods()
    ],
)
def test_row_54_start_with_open_connections_and_a_thread(
    bench: Bench, method: str
) -> None:
    cluster = bench.start(wait=False, kind=Prepared, start_method=method)
    # Python 3.12 and newer say so of any fork beside a thread, and here is one.
    cluster.complaints = "multi-threaded, use of fork" if method == "fork" else None
    # Spawned processes all load the project, on a slow machine for long.
    cluster.wait_until_running(within=60)
    with bench.load(count=20):
        # A replacement is started beside all the others, and by then they are at work.
        killed = cluster.kill("worker")
        wait_until(lambda: killed not in cluster.pids("worker") and cluster.is_whole())
        wait_until(lambda: not shared_sockets(cluster))
    assert bench.count().twice <= WORKERS
    assert not shared_sockets(cluster)
    assert all(sockets_of(pid) for role in ROLES for pid in cluster.pids(role))


def shared_sockets(cluster: RunningCluster) -> dict[str, set[int]]:
    """Inode of a socket -> the processes of this cluster that have it, if several do."""
    owners = defaultdict(set)
    for member in cluster.members():
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            for inode in sockets_of(member.pid):
                owners[inode].add(member.pid)
    return {inode: pids for inode, pids in owners.items() if len(pids) > 1}


def sockets_of(pid: int) -> set[str]:
    """Such as "socket:[4711]"."""
    found = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(file.readlink()))
    return {name for name in found if name.startswith("socket:")}
