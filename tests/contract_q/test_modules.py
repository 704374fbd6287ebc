"""Where things are found: the module paths that other projects import from."""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from django_q import clock, conf, humanhash, logs, queues, status, utils
from django_q.cluster.affinity import choose_processors
from tests import functions
from tests.house.rooms import ROOT

SAME = {
    "django_q.cluster.Cluster": "django_q.cluster.cluster.Cluster",
    "django_q.cluster.Conf": "django_q.conf.Conf",
    "django_q.cluster.Queue": "django_q.queues.Queue",
    "django_q.cluster.Sentinel": "django_q.legacy.sentinel.Sentinel",
    "django_q.cluster.Stat": "django_q.status.Stat",
    "django_q.cluster.Status": "django_q.status.Status",
    "django_q.cluster.close_old_django_connections": (
        "django_q.utils.close_old_django_connections"
    ),
    "django_q.cluster.get_broker": "django_q.brokers.get_broker",
    "django_q.cluster.humanize": "django_q.humanhash.humanize",
    "django_q.cluster.localtime": "django_q.utils.localtime",
    "django_q.cluster.logger": "django_q.conf.logger",
    "django_q.cluster.monitor": "django_q.monitor.monitor",
    "django_q.cluster.pusher": "django_q.pusher.pusher",
    "django_q.cluster.rss_check": "django_q.worker.rss_check",
    "django_q.cluster.save_cached": "django_q.monitor.save_cached",
    "django_q.cluster.save_task": "django_q.monitor.save_task",
    "django_q.cluster.scheduler": "django_q.scheduler.scheduler",
    "django_q.cluster.worker": "django_q.worker.worker",
    "django_q.monitor.Stat": "django_q.status.Stat",
    "django_q.monitor.get_ids": "django_q.monitor_terminal.get_ids",
    "django_q.monitor.get_process_mb": "django_q.monitor_terminal.get_process_mb",
    "django_q.monitor.info": "django_q.monitor_terminal.info",
    "django_q.monitor.memory": "django_q.monitor_terminal.memory",
}
"""A name in one place, and where the thing itself is."""


FOR_COPIES = {
    "django_q.worker": (
        "Conf TimeoutException TimeoutHandler close_old_django_connections "
        "error_reporter get_func_repr logger post_execute_in_worker post_spawn "
        "pre_execute psutil resource rss_check setproctitle timezone"
    ),
    "django_q.scheduler": (
        "Conf Schedule async_task close_old_django_connections croniter get_broker "
        "localtime logger router timezone transaction"
    ),
}
"""What copies of the older worker and scheduler reach for."""


@pytest.mark.parametrize("module", FOR_COPIES)
def test_copies_of_the_older_functions_find_what_they_use(module: str):
    for name in FOR_COPIES[module].split():
        assert hasattr(importlib.import_module(module), name), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        found(f"{module}.nonsense")


def found(path: str) -> Any:
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", SAME)
def test_is_the_same_thing_in_both_places(path: str):
    assert found(path) is found(SAME[path])


@pytest.mark.parametrize("name", ["monitor", "worker", "scheduler", "pusher"])
def test_names_of_the_cluster_are_functions_whatever_is_imported_first(name: str):
    """A module of the same name, imported before, must not take their place."""
    code = (
        "import django, sys; django.setup();"
        "import django_q.cluster.monitoring, django_q.cluster.working;"
        "import django_q.cluster.pushing, django_q.cluster.scheduling;"
        f"import django_q.{name};"
        f"from django_q.cluster import {name} as first;"
        "import django_q.cluster.cluster;"
        f"from django_q.cluster import {name} as second;"
        f"from django_q.{name} import {name} as third;"
        "assert first is second is third; assert callable(first)"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("django_q.worker.worker", ["task_queue", "result_queue", "timer", "timeout"]),
        ("django_q.pusher.pusher", ["task_queue", "event", "broker"]),
        ("django_q.monitor.monitor", ["result_queue", "broker"]),
        ("django_q.monitor.save_task", ["task", "broker"]),
        ("django_q.monitor.save_cached", ["task", "broker"]),
        ("django_q.scheduler.scheduler", ["broker"]),
    ],
)
def test_roles_are_called_as_ever(path: str, parameters: list[str]):
    assert list(inspect.signature(found(path)).parameters) == parameters


def test_module_without_such_a_name_says_so():
    with pytest.raises(AttributeError, match=r"django_q\.monitor.*'nonsense'"):
        found("django_q.monitor.nonsense")
    with pytest.raises(AttributeError, match=r"django_q\.cluster.*'nonsense'"):
        found("django_q.cluster.nonsense")


# -------------------------------------------------------------------------- utils


def test_utils_are_where_they_were(settings: Any):
    moment = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert utils.add_years(moment, 1) == datetime(2025, 2, 28, 12, tzinfo=UTC)
    assert utils.add_months(moment, 12) == datetime(2025, 2, 28, 12, tzinfo=UTC)
    settings.TIME_ZONE = "Asia/Kathmandu"
    assert utils.localtime(moment).hour == 17
    assert utils.localtime().tzinfo == clock.zone()


def test_text_of_functions():
    assert utils.get_func_repr(functions.add) == "tests.functions.add"
    assert utils.get_func_repr("tests.functions.add") == "tests.functions.add"
    path = f"{__name__}.Holder.method"
    assert utils.get_func_repr(Holder.method) == path


class Holder:
    @classmethod
    def method(cls) -> None:
        pass


@pytest.mark.django_db
def test_connections_in_a_transaction_stay_open():
    connection.ensure_connection()
    connection.close_at = 0
    utils.close_old_django_connections()
    assert connection.connection is not None


@pytest.mark.django_db(transaction=True)
def test_old_connections_are_closed():
    connection.ensure_connection()
    connection.close_at = 0
    utils.close_old_django_connections()
    assert connection.connection is None


@pytest.mark.django_db(transaction=True)
def test_sync_mode_keeps_connections_and_says_so(q_settings: Any, caplog: Any):
    q_settings(sync=True)
    connection.ensure_connection()
    connection.close_at = 0
    utils.close_old_django_connections()
    assert connection.connection is not None
    assert "sync mode" in caplog.text


# ------------------------------------------------------------- processes, queues


def test_context_for_processes_of_ones_own():
    context = found("django_q.cluster.get_mp_context")()
    methods = multiprocessing.get_all_start_methods()
    best = "fork" if "fork" in methods else methods[0]
    assert context.get_start_method() == best


def test_processors_are_dealt_out_or_only_named(q_settings: Any, caplog: Any):
    deal = found("django_q.cluster.set_cpu_affinity")
    caplog.set_level("INFO", "django-q")
    before = os.sched_getaffinity(0)
    chosen = choose_processors(0, 1, sorted(before))
    try:
        deal(1, [os.getpid()], actual=False)
        q_settings(testing=True)
        deal(1, [os.getpid()])
        assert os.sched_getaffinity(0) == before
        assert caplog.text.count(f"{os.getpid()} will use cpu {chosen}") == 2
        q_settings(testing=False)
        deal(1, [os.getpid()])
        assert os.sched_getaffinity(0) == set(chosen)
        deal(0, [os.getpid()])
        assert os.sched_getaffinity(0) == set(chosen)
    finally:
        os.sched_setaffinity(0, before)


def fill(queue: queues.Queue, count: int) -> None:
    for number in range(count):
        queue.put(number)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_queue_knows_its_size_across_processes(method: str):
    context: Any = multiprocessing.get_context(method)
    queue = queues.Queue(ctx=context)
    assert (queue.qsize(), queue.empty()) == (0, True)
    process = context.Process(target=fill, args=(queue, 3))
    process.start()
    process.join()
    assert (queue.qsize(), queue.empty()) == (3, False)
    assert [queue.get() for _ in range(3)] == [0, 1, 2]
    assert (queue.qsize(), queue.empty()) == (0, True)
    queue.close()


def test_counter_counts_in_its_own_context():
    counter = queues.SharedCounter(3, ctx=multiprocessing.get_context("spawn"))
    counter.increment(-1)
    assert counter.value == 2


def test_old_places_hold_the_things_of_today():
    assert conf.logger is logs.logger
    assert found("django_q.cluster.humanize") is humanhash.humanize
    assert issubclass(found("django_q.monitor.Stat"), status.Status)
