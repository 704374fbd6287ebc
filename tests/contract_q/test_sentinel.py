"""The sentinel of earlier releases: made with two events, and subclassed."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psutil
import pytest

from django_q.brokers import get_broker
from django_q.cluster.cluster import Cluster
from django_q.conf import Conf
from django_q.legacy.sentinel import Sentinel
from django_q.models import Task
from django_q.status import Stat
from django_q.tasks import async_task

pytestmark = pytest.mark.django_db(transaction=True)


class Until:
    """An event that is set as soon as something is so."""

    def __init__(self, fact: Callable[[], bool]) -> None:
        self.is_set = fact


class Own(Sentinel):
    """A project's own: it writes down what it is asked for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.asked: list[str] = []
        self.states: list[Any] = []
        super().__init__(*args, **kwargs)

    def spawn_worker(self) -> Any:
        self.asked.append("worker")
        return super().spawn_worker()

    def spawn_monitor(self) -> Any:
        self.asked.append("monitor")
        return super().spawn_monitor()

    def spawn_pusher(self) -> Any:
        self.asked.append("pusher")
        return super().spawn_pusher()

    def guard(self) -> None:
        self.asked.append("guard")
        super().guard()

    def stop(self) -> None:
        self.states.append(self.status())
        self.asked.append("stop")
        super().stop()


def test_the_constructor_is_the_whole_life():
    stop, start = Event(), Event()
    stop.set()
    sentinel = Sentinel(stop, start, cluster_id=uuid.uuid4(), broker=get_broker())
    assert start.is_set()
    assert sentinel.status() == Conf.STOPPED
    assert (sentinel.pool, sentinel.monitor, sentinel.pusher) == ([], None, None)


def test_one_that_is_not_started_tells_what_it_would_do(q_settings: Any):
    q_settings(workers=3, timeout=17)
    broker = get_broker()
    sentinel = Sentinel(Event(), Event(), uuid.uuid4(), broker=broker, start=False)
    assert sentinel.status() == Conf.STARTING
    assert (sentinel.pool_size, sentinel.timeout) == (3, 17)
    assert (sentinel.pool, sentinel.reincarnations) == ([], 0)
    assert sentinel.broker is broker
    assert sentinel.pid == sentinel.parent_pid == os.getpid()
    for verb in (sentinel.guard, sentinel.stop, sentinel.spawn_worker):
        with pytest.raises(RuntimeError, match="was not started"):
            verb()
    other = Sentinel(Event(), Event(), uuid.uuid4(), timeout=5, start=False)
    assert other.timeout == 5
    assert other.broker.list_key == broker.list_key


def test_a_subclass_is_asked_for_each_process_and_each_new_one(q_settings: Any):
    q_settings(guard_cycle=0.05, daemonize_workers=False)
    started, ids = Event(), [async_task("tests.functions.pid")]
    cluster_id = uuid.uuid4()

    def is_over() -> bool:
        """Two tasks are done, the first worker of the pool killed in between."""
        seen.setdefault("first", sentinel.status())
        row = Task.objects.filter(pk=ids[-1]).first()
        # It starts until each of its processes is ready; one is enough for a task.
        if row is None or sentinel.status() == Conf.STARTING:
            return False
        if len(ids) == 1:
            seen.update(pids={child.pid for child in sentinel.pool}, ran=row.result)
            seen["daemons"] = {child.daemon for child in sentinel.pool}
            seen["singles"] = [sentinel.monitor, sentinel.pusher]
            seen["names"] = [child.name for child in sentinel.pool]
            seen["stat"] = Stat(sentinel)
            sentinel.pool[0].kill()
            ids.append(async_task("tests.functions.pid"))
            return False
        return sentinel.reincarnations > 0

    seen: dict[str, Any] = {}
    sentinel = Own(
        Until(is_over), started, cluster_id, broker=get_broker(), start=False
    )
    sentinel.start()
    assert sentinel.asked[:4] == ["pusher", "monitor", "worker", "worker"]
    assert sentinel.asked[4:] == ["guard", "worker", "stop"]
    assert seen["first"] == Conf.STARTING
    assert seen["daemons"] == {False}, "as daemonize_workers says"
    assert all(child.daemon for child in seen["singles"])
    assert seen["ran"] in seen["pids"]
    assert not any(map(psutil.pid_exists, seen["pids"]))
    assert all(seen["names"])
    assert set(seen["stat"].workers) == seen["pids"]
    assert (seen["stat"].pid, seen["stat"].reincarnations) == (os.getpid(), 0)
    assert sentinel.states[0] in (Conf.IDLE, Conf.WORKING)
    assert sentinel.status() == Conf.STOPPED
    assert sentinel.reincarnations == 1


def test_pool_size_may_be_changed_before_the_start():
    sentinel = Own(Until(lambda: True), Event(), uuid.uuid4(), start=False)
    sentinel.pool_size = 1
    sentinel.start()
    assert sentinel.asked.count("worker") == 1


def test_a_method_that_starts_nothing_is_told_so():
    class Lazy(Sentinel):
        def spawn_monitor(self) -> Any:
            return None

    with pytest.raises(RuntimeError, match="must call the method that it overrides"):
        Lazy(Event(), Event(), uuid.uuid4())


def test_nobody_can_start_what_is_not_missing():
    class Eager(Own):
        def guard(self) -> None:
            try:
                self.spawn_worker()
            finally:
                self.stop()

    with pytest.raises(RuntimeError, match="No worker is missing"):
        Eager(Event(), Event(), uuid.uuid4())


def test_a_cluster_made_in_another_thread_leaves_the_signals_alone():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with ThreadPoolExecutor(1) as thread:
        cluster = thread.submit(Cluster).result()
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert after == before
    assert cluster.stop() is False
    cluster.guard()
