"""Programs that start a cluster themselves, as the commands of some projects do.

Run as `python -m tests.acceptance.programs NAME [PATH]`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import uuid
from importlib import import_module
from pathlib import Path
from typing import Any

import django

django.setup()

from django.core.management import execute_from_command_line  # noqa: E402

from django_q import cluster as door  # noqa: E402 - the apps come first
from django_q.cluster import children  # noqa: E402
from django_q.cluster.cluster import Cluster  # noqa: E402
from django_q.legacy.processes import get_mp_context  # noqa: E402
from django_q.legacy.sentinel import Sentinel  # noqa: E402
from django_q.logs import attach_console, logger  # noqa: E402
from django_q.models import Schedule  # noqa: E402
from django_q.tasks import async_task  # noqa: E402
from tests.functions import log  # noqa: E402


def start_and_return() -> None:
    """The old form of a command: nobody keeps the cluster."""
    Cluster().start()


def fail_to_start() -> None:
    """The command, but its sentinel ends as soon as it begins."""
    children.PATHS["sentinel"] = "tests.acceptance.raises_on_import.Sentinel"
    execute_from_command_line(["program", "qcluster"])


def do_something_else() -> None:
    """The main thread is busy elsewhere, until the cluster has stopped."""
    cluster = Cluster()
    cluster.start()
    while not cluster.has_stopped:
        time.sleep(0.02)


def tell_its_states(path: str) -> None:
    """Write down what a cluster says of itself on its way, and when it runs once more."""
    cluster = Cluster()
    told: list[dict[str, Any]] = [states(cluster) | {"stop": cluster.stop()}]
    given = cluster.start()
    told.append(states(cluster) | {"given": given == cluster.pid == os.getpid()})
    process = cluster.sentinel
    told[-1]["sentinel"] = process is not None and process.is_alive()
    told[-1]["daemon"] = process is not None and process.daemon
    told[-1]["stat"] = str(cluster.stat.cluster_id) == str(cluster.cluster_id)
    cluster.stop_event.set()
    told.append({"code": cluster.guard()} | states(cluster) | {"stop": cluster.stop()})
    told[-1]["sentinel"] = cluster.sentinel is not None
    cluster.start()
    told.append(states(cluster) | {"stop": cluster.stop()})
    Path(path).write_text(json.dumps(told))


def states(cluster: Any) -> dict[str, Any]:
    names = ("is_starting", "is_running", "is_stopping", "has_stopped")
    facts = {name: bool(getattr(cluster, name)) for name in names}
    facts["id"] = isinstance(cluster.cluster_id, uuid.UUID)
    facts["host"] = cluster.host == socket.gethostname()
    return facts


# ---------------------------------------------------------- replaced functions


def only_allowed(
    task_queue: Any, result_queue: Any, timer: Any, timeout: Any = None
) -> None:
    """A worker of a project's own: it runs additions, and nothing else."""
    for task in iter(task_queue.get, "STOP"):
        timer.value = timeout
        if task["func"] == "tests.functions.fail":
            continue
        ended = task | {"success": task["func"] == "tests.functions.add"}
        ended["result"] = sum(task["args"]) if ended["success"] else "refused : by us"
        ended["tenant"] = os.getpid()
        result_queue.put(ended)
        timer.value = -1


def note_and_schedule(broker: Any = None) -> None:
    """A scheduler of a project's own."""
    for row in Schedule.objects.filter(repeats=7, cluster=broker.list_key):
        row.task = async_task(row.func, row.pk, broker=broker)
        row.repeats = 0
        row.save()


def replace_functions() -> None:
    """Run with functions of its own; two of them can't have any effect."""
    vars(door).update(worker=only_allowed, scheduler=note_and_schedule)
    vars(door).update(monitor=print, pusher=lambda *_: None)
    start_and_return()


# ------------------------------------------------- a sentinel of a project's own


class OwnSentinel(Sentinel):
    """Says in its own words when it starts a worker."""

    def spawn_worker(self) -> Any:
        process = super().spawn_worker()
        logger.info("own sentinel started %s for %s", process.pid, self.parent_pid)
        return process


class OwnCluster(Cluster):
    """Starts its sentinel as the clusters of earlier releases did."""

    def start(self) -> int:
        context: Any = get_mp_context()
        self.stop_event, self.start_event = context.Event(), context.Event()
        arguments = (self.stop_event, self.start_event, self.cluster_id, self.broker)
        self.sentinel = context.Process(target=OwnSentinel, args=arguments)
        self.sentinel.start()
        self.start_event.wait()
        return os.getpid()


def start_own_sentinel() -> None:
    OwnCluster().start()


if __name__ == "__main__":
    attach_console("INFO")
    # Its functions are found again by their paths, unlike those of __main__.
    programs = import_module("tests.acceptance.programs")
    getattr(programs, sys.argv[1])(*sys.argv[2:])
    log(os.environ["QTEST_SIGNALS"], "returned")
