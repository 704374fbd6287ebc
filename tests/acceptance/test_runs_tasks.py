"""From async_task to a saved row, with everything that can be asked for on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from django_q.brokers import get_broker
from django_q.models import Attempt, OrmQ, Task
from django_q.signals import pre_enqueue
from django_q.tasks import (
    AsyncTask,
    async_chain,
    async_iter,
    count_group,
    delete_group,
    fetch,
    fetch_group,
    queue_size,
    result,
    result_cached,
    result_group,
)
from tests import functions
from tests.acceptance.brokers import Prefixed
from tests.acceptance.conftest import Lodge, Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import stays, wait_until

COMPLAINTS = "return hook .* Traceback|multi-threaded, use of fork"
"""Broken hooks; a task that forks beside our lifeline, which only waits (3.12 and up)."""

WAIT = 15_000
"""Milliseconds."""


@pytest.fixture
def shared_cache(settings: Any, lodge: Lodge) -> None:
    """The cache that the cluster uses, for this process as well."""
    settings.CACHES = caches_in(lodge.folder)


def caches_in(folder: Path) -> dict[str, dict[str, str]]:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    return {"default": {"BACKEND": backend, "LOCATION": str(folder / "cache")}}


@pytest.mark.every_database
def test_task_becomes_a_row(cluster: RunningCluster) -> None:
    task_id = cluster.send(functions.add, 1, 2, task_name="sum of two")
    row = fetch(task_id, wait=WAIT)
    assert row is not None
    assert (row.success, row.result, row.attempt_count) == (True, 3, 1)
    assert (row.func, row.args, row.kwargs) == ("tests.functions.add", (1, 2), {})
    assert row.name == "sum of two"
    assert row.cluster == cluster.queue
    assert row.started <= row.stopped
    cluster.wait_for(task_id)
    assert result("sum of two") == 3


def test_function_may_be_given_as_text(cluster: RunningCluster) -> None:
    task_id = cluster.send("tests.functions.echo", 1, word="two")
    assert result(task_id, wait=WAIT) == {"args": (1,), "kwargs": {"word": "two"}}


def test_result_of_none_is_a_result(cluster: RunningCluster) -> None:
    task_id = cluster.send(functions.nothing)
    assert result(task_id, wait=-1) is None
    assert fetch(task_id) is not None


@pytest.mark.every_database
def test_failing_task_becomes_a_failure_and_its_worker_lives(
    cluster: RunningCluster,
) -> None:
    workers = cluster.pids("worker")
    row = cluster.wait_for(cluster.send(functions.fail, "no more paper"))
    assert not row.success
    assert "no more paper" in row.result
    assert "Traceback" in row.result
    assert row.attempt_count == 1
    assert cluster.pids("worker") == workers
    assert cluster.says(r"ERROR ✕ tests\.functions\.fail \[.*no more paper")


def test_async_function_is_awaited(cluster: RunningCluster) -> None:
    task_id = cluster.send(functions.add_later, 2, 3)
    assert result(task_id, wait=WAIT) == 5


@pytest.mark.every_database
def test_many_tasks_run_once_each(cluster: RunningCluster, diary: Diary) -> None:
    ids = cluster.send_many(300, functions.log_and_sleep, diary.path, 0)
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert [row.result for row in rows] == [f"w{n}" for n in range(300)]
    assert {row.attempt_count for row in rows} == {1}
    assert set(diary.of("end").values()) == {1}


def test_new_task_starts_at_once_on_an_idle_cluster(cluster: RunningCluster) -> None:
    wait_until(lambda: cluster.state() == "idle")
    row = cluster.wait_for(cluster.send(functions.nothing), within=2)
    assert (row.stopped - row.started).total_seconds() < 0.5


# ------------------------------------------------------------------------ options


def test_group_gives_all_results(cluster: RunningCluster) -> None:
    group = f"squares {cluster.queue}"
    for number in range(5):
        cluster.send(functions.add, number, number, group=group)
    cluster.send(functions.fail, group=group)
    wait_until(lambda: count_group(group) == 6)
    assert count_group(group, failures=True) == 1
    found = result_group(group, count=5, wait=WAIT)
    assert sorted(found or []) == [0, 2, 4, 6, 8]
    assert len(fetch_group(group) or []) == 6
    delete_group(group, tasks=True)
    assert fetch_group(group) is None


def test_options_may_come_in_q_options(cluster: RunningCluster) -> None:
    options = {"group": "by option", "cluster": cluster.queue, "task_name": "optional"}
    task_id = cluster.send(functions.echo, group="mine", q_options=options)
    row = cluster.wait_for(task_id)
    assert (row.group, row.name) == ("by option", "optional")
    assert row.result["kwargs"]["group"] == "mine"


def test_task_object_runs_and_fetches(cluster: RunningCluster) -> None:
    task = AsyncTask(functions.add, 4, 5, cluster=cluster.queue)
    task.group = "objects"
    task.run()
    assert task.result(wait=WAIT) == 9
    row = task.fetch()
    assert row is not None
    assert row.group == "objects"


def test_unsaved_success_leaves_no_row(cluster: RunningCluster, diary: Diary) -> None:
    task_id = cluster.send(functions.log, diary.path, "end:unsaved", save=False)
    wait_until(lambda: diary.of("end")["unsaved"])
    wait_until(cluster.queue_is_empty)
    assert fetch(task_id) is None


def test_failing_task_is_repeated_until_it_succeeds(
    cluster: RunningCluster, diary: Diary
) -> None:
    options = {"max_attempts": 5, "retry_delay": 0.1}
    row = cluster.wait_for(cluster.send(functions.flaky, diary.path, 3, **options))
    assert (row.success, row.result, row.attempt_count) == (True, 3, 3)
    assert functions.words(diary.path) == ["ran"] * 3
    assert cluster.count(r"WARNING ↻ tests\.functions\.flaky .*attempt [23]/5") == 2
    attempts = Attempt.objects.filter(task=row)
    assert [a.success for a in attempts] == [False, False, True]
    assert all(a.started and row.started < a.started < a.stopped for a in attempts)


def test_failing_task_ends_after_its_attempts(
    cluster: RunningCluster, diary: Diary
) -> None:
    options = {"max_attempts": 2, "retry_delay": 0.1}
    task_id = cluster.send(functions.log_and_fail, diary.path, **options)
    row = cluster.wait_for(task_id)
    assert (row.success, row.attempt_count) == (False, 2)
    assert functions.words(diary.path) == ["ran"] * 2
    assert cluster.says("gave up after 2 attempts")


def test_same_id_runs_once(cluster: RunningCluster, diary: Diary) -> None:
    task_id = "0123456789abcdef" * 2
    for _ in range(2):
        options = {"task_id": task_id, "cluster": cluster.queue}
        arguments = (diary.path, "once", 0.2)
        cluster.send(functions.log_and_sleep, *arguments, q_options=options)
    cluster.wait_for(task_id)
    assert diary.of("start") == {"once": 1}


def test_cached_result_is_in_the_cache_and_nowhere_else(
    cluster: RunningCluster, shared_cache: None
) -> None:
    task_id = cluster.send(functions.add, 6, 7, cached=60)
    found = wait_until(lambda: find_cached(task_id, cluster.queue))
    assert found == 13
    wait_until(cluster.queue_is_empty)
    assert not Task.objects.filter(id=task_id).exists()


def test_broker_may_call_its_queue_as_it_likes(
    running_cluster: Runner, settings: Any
) -> None:
    cluster = running_cluster(broker_class="tests.acceptance.brokers.Prefixed")
    settings.CACHES = caches_in(cluster.folder)
    broker = Prefixed(cluster.queue)
    task_id = cluster.send(functions.add, 6, 7, cached=60, broker=broker)
    assert wait_until(lambda: result_cached(task_id, broker=broker)) == 13
    task_id = cluster.send(functions.add, 1, 2, broker=broker)
    assert cluster.wait_for(task_id).result == 3


def find_cached(task_id: str, queue: str) -> Any:
    return result_cached(task_id, broker=get_broker(queue))


# ------------------------------------------------------------- chains, iterables


def test_chain_runs_in_order(cluster: RunningCluster, diary: Diary) -> None:
    options = {"q_options": {"cluster": cluster.queue}}
    links = [(functions.log, (diary.path, word), options) for word in "abc"]
    group = async_chain(links)
    wait_until(lambda: count_group(group) == 3)
    assert functions.words(diary.path) == ["a", "b", "c"]
    wait_until(cluster.queue_is_empty)


def test_chain_stops_at_a_failed_link(cluster: RunningCluster, diary: Diary) -> None:
    options = {"q_options": {"cluster": cluster.queue}}
    functions_in_order = [functions.log, functions.log_and_fail, functions.log]
    links = [
        (func, (diary.path, func.__name__), options) for func in functions_in_order
    ]
    group = async_chain(links)
    wait_until(lambda: count_group(group, failures=True) == 1)
    wait_until(cluster.queue_is_empty)
    assert functions.words(diary.path) == ["log", "log_and_fail"]
    assert count_group(group) == 2


def test_iterable_gives_its_results_in_order(
    cluster: RunningCluster, shared_cache: None
) -> None:
    pairs = [(n, n + 1) for n in range(8)]
    options = {"cluster": cluster.queue}
    task_id = async_iter(functions.add, pairs, q_options=options)
    assert result(task_id, wait=WAIT) == [2 * n + 1 for n in range(8)]
    wait_until(cluster.queue_is_empty)


def test_iterable_survives_the_death_of_who_collates_it(
    running_cluster: Runner, settings: Any, tmp_path: Path, diary: Diary
) -> None:
    settings.CACHES = caches_in(tmp_path)
    cluster = running_cluster()
    hook = "tests.functions.log_result"
    options = {"cluster": cluster.queue, "hook": hook}
    function = "tests.acceptance.functions.give_what_kills"
    iter_id = async_iter(function, [diary.path] * 3, q_options=options)
    row = fetch(iter_id, wait=WAIT)
    assert row is not None
    assert row.result == ["lived"] * 3
    cluster.wait_for(iter_id)
    wait_until(lambda: "hook:True" in functions.words(diary.path))
    assert len(functions.words(diary.path)) == 2
    # Nothing is left but the vital signs: a list of clusters, and those of this one.
    assert len(list((tmp_path / "cache").glob("*.djcache"))) <= 2


# ---------------------------------------------------------------- hooks, signals


def test_hook_runs_once_after_the_row_is_there(
    cluster: RunningCluster, diary: Diary
) -> None:
    hook = "tests.functions.log_result"
    cluster.wait_for(cluster.send(functions.log, diary.path, "task", hook=hook))
    cluster.wait_for(cluster.send(functions.log_and_fail, diary.path, "no", hook=hook))
    expected = ["task", "hook:True", "no", "hook:False"]
    wait_until(lambda: len(functions.words(diary.path)) >= 4)
    assert functions.words(diary.path) == expected


def test_hook_does_not_wait_behind_a_long_task(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(workers=1)
    hook = "tests.functions.log_result"
    for name in ("one", "two", "three"):
        cluster.send(functions.log, diary.path, name, hook=hook)
    long = cluster.send(functions.sleep, 5)
    wait_until(lambda: functions.words(diary.path).count("hook:True") == 3)
    assert not Task.objects.filter(id=long).exists()
    cluster.wait_for(long)


def test_broken_hook_harms_nobody(cluster: RunningCluster) -> None:
    workers = cluster.pids("worker")
    hooks = ["tests.functions.broken_hook", "tests.functions.nowhere", "nonsense"]
    for hook in hooks:
        row = cluster.wait_for(cluster.send(functions.add, 1, 1, hook=hook))
        assert (row.success, row.hook) == (True, hook)
    wait_until(lambda: all(cluster.says(rf"ERROR.*{hook}") for hook in hooks))
    cluster.works()
    assert cluster.pids("worker") == workers


def test_signals_come_in_order(cluster: RunningCluster) -> None:
    cluster.wait_for(cluster.send(functions.nothing, task_name="watched"))
    path = cluster.signals_file

    def heard() -> list[str]:
        return [w for w in functions.words(path) if w.endswith(":watched")]

    kinds = ["pre_execute", "post_execute_in_worker", "post_execute"]
    wait_until(lambda: len(heard()) == 3)
    assert heard() == [f"{kind}:watched" for kind in kinds]
    spawned = [w for w in functions.words(path) if w.startswith("post_spawn:")]
    assert len(spawned) >= 2


def test_dict_of_a_task_on_its_way(cluster: RunningCluster) -> None:
    def mark(task: dict[str, Any], **_: Any) -> None:
        task["trail"] = "added by a receiver of pre_enqueue"

    pre_enqueue.connect(mark)
    try:
        cluster.wait_for(cluster.send(functions.nothing, timeout=9, group="g"))
    finally:
        pre_enqueue.disconnect(mark)

    def seen() -> dict[str, set[str]]:
        lines = [w.partition("=") for w in functions.words(cluster.signals_file)]
        return {kind: set(keys.split(",")) for kind, _, keys in lines if keys}

    wait_until(lambda: "post_execute" in seen())
    given = {"id", "name", "func", "args", "kwargs", "started", "group", "trail"}
    ending = {"result", "success", "stopped"}
    assert seen() == {
        "pre_execute": given | {"cluster", "ack_id"},
        "post_execute_in_worker": given | {"cluster", "ack_id"} | ending,
        "post_execute": given | {"cluster"} | ending,
    }


# ------------------------------------------------------------------ transactions


@pytest.mark.every_database
def test_rolled_back_task_never_runs_and_a_committed_one_does(
    cluster: RunningCluster, diary: Diary
) -> None:
    with transaction.atomic():
        cluster.send(functions.log, diary.path, "rolled-back")
        transaction.set_rollback(True)
    with transaction.atomic():
        kept = cluster.send(functions.log, diary.path, "committed")
        assert stays(lambda: functions.words(diary.path) == [], during=0.2)
    cluster.wait_for(kept)
    assert functions.words(diary.path) == ["committed"]


def test_queue_that_no_cluster_serves_is_left_alone(cluster: RunningCluster) -> None:
    cluster.send(functions.nothing, cluster="nobody")
    cluster.works()
    row = OrmQ.objects.get(key="nobody")
    assert row.holder is None
    assert queue_size() == 0
    row.delete()


def test_task_may_queue_a_task(cluster: RunningCluster, diary: Diary) -> None:
    path = Path(diary.path)
    call = "django_q.tasks.async_task"
    inner = ("tests.functions.log", str(path), "inner")
    # The options of this call are the outer task's; the inner one serves the same queue.
    row = cluster.wait_for(cluster.send(call, *inner))
    cluster.wait_for(row.result)
    assert functions.words(path) == ["inner"]


def test_task_may_leave_a_process_behind(cluster: RunningCluster, diary: Diary) -> None:
    seconds = 3
    task = "tests.acceptance.functions.fork_and_leave"
    row = cluster.wait_for(cluster.send(task, diary.path, seconds))
    assert row.success
    cluster.works(within=2)
    wait_until(lambda: not cluster.has(row.result))
