"""Whole clusters on brokers that a project wrote for an earlier release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache.backends.filebased import FileBasedCache

from django_q.models import Task
from django_q.signing import SignedPackage
from django_q.tasks import async_chain
from tests import functions
from tests.acceptance.brokers import Folder, Rows
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary
from tests.waiting import wait_until

pytestmark = pytest.mark.once


def test_plain_one_with_receipts_of_its_own_kind(
    running_cluster: Runner, diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = running_cluster(
        broker_class="tests.acceptance.brokers.Folder", retry=1, timeout=20
    )
    cluster.complaints = "the folder is closed"
    monkeypatch.setenv("QTEST_CACHE", str(cluster.folder / "cache"))
    broker = Folder(cluster.queue)

    def send(func: Callable[..., Any], *args: Any, **options: Any) -> str:
        return cluster.send(func, *args, broker=broker, **options)

    def is_empty() -> bool:
        return broker.queue_size() + broker.lock_size() == 0

    ids = [send(functions.add, 1, n) for n in range(20)]
    rows = cluster.wait_for_all(ids)
    assert [row.result for row in rows] == [1 + n for n in range(20)]

    # A failure comes back as the broker has it, and not for ever.
    hook = "tests.functions.log_result"
    failing = send(
        functions.log_and_fail,
        diary.path,
        "no",
        max_attempts=2,
        hook=hook,
        task_name="no",
    )
    row = cluster.wait_for(failing)
    assert (row.success, row.attempt_count) == (False, 2)
    wait_until(lambda: functions.words(diary.path) == ["no", "no", "hook:False"])
    told = [w for w in functions.words(cluster.signals_file) if w == "post_execute:no"]
    assert len(told) == 2

    # The links of a chain, and a task longer than `retry`, which runs once.
    options = {"q_options": {"cluster": cluster.queue}}
    links = [
        (functions.log_and_sleep, (diary.path, word, 1.5), options) for word in "ab"
    ]
    async_chain(links, broker=broker)
    wait_until(lambda: Task.objects.filter(func__endswith="log_and_sleep").count() == 2)
    assert diary.of("end") == {"a": 1, "b": 1}
    wait_until(is_empty)

    # What is no package goes where the broker wants it; errors pass.
    broker.enqueue("rubbish")
    wait_until(lambda: list(broker.connection.glob("*.failed")))
    (broker.connection / "closed").touch()
    wait_until(lambda: cluster.says("can't use the broker .*folder is closed"))
    (broker.connection / "closed").unlink()
    assert cluster.wait_for(send(functions.add, 20, 22)).result == 42
    wait_until(is_empty)

    # A monitor of an earlier release sees it to its end.
    pid = cluster.pid
    assert cluster.stop() == 0
    shared = FileBasedCache(str(cluster.folder / "cache"), {})
    (key,) = shared.get("django_q:tests:cluster")
    last = SignedPackage.loads(shared.get(key))
    assert (last.pid, last.state) == (pid, "stopped")


def test_one_on_the_database_that_gives_bare_keys(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(
        broker_class="tests.acceptance.brokers.Rows", retry=30, timeout=20
    )
    broker = Rows(cluster.queue)
    ids = [cluster.send(functions.add, 1, n, broker=broker) for n in range(20)]
    assert [row.result for row in cluster.wait_for_all(ids)] == [
        1 + n for n in range(20)
    ]
    fatal = cluster.send(
        functions.log_and_die, diary.path, broker=broker, max_deliveries=2
    )
    assert not cluster.wait_for(fatal).success
    assert functions.words(diary.path) == ["ran", "ran"]
    failing = cluster.send(functions.fail, broker=broker)
    assert not cluster.wait_for(failing).success
    assert cluster.stop() == 0
    assert broker.queue_size() + broker.lock_size() == 0
