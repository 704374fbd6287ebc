"""result, fetch and their group: by id or name, now or later, from table or cache."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import caches
from django.db import connections
from django.db.models import QuerySet

from django_q import clock, tasks
from django_q.models import Task
from django_q.tasks import (
    aresult,
    async_task,
    count_group,
    delete_cached,
    delete_group,
    fetch,
    fetch_cached,
    fetch_group,
    fetch_group_cached,
    queue_size,
    result,
    result_cached,
    result_group,
)
from tests.functions import words

pytestmark = pytest.mark.django_db

NOBODY = "f" * 32


def run(result: Any = None, **options: Any) -> str:
    """A task that returned this."""
    func = "copy.copy"
    if options.pop("fails", False):
        func = "tests.functions.fail"
    try:
        return async_task(func, result, sync=True, **options)
    except ValueError:
        return Task.objects.latest("stopped").id


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    caches["default"].clear()


class TestSingle:
    def test_by_id_and_by_name(self) -> None:
        task_id = run(5, task_name="monthly")
        assert result(task_id) == result("monthly") == 5
        assert fetch(task_id) == fetch("monthly")
        assert result(NOBODY) is fetch(NOBODY) is result("nobody") is None

    def test_a_name_as_long_as_an_id(self) -> None:
        run(5, task_name="n" * 32)
        assert result("n" * 32) == 5

    def test_several_of_one_name_are_too_many(self) -> None:
        run(1, task_name="twice")
        run(2, task_name="twice")
        with pytest.raises(Task.MultipleObjectsReturned):
            result("twice")

    @pytest.mark.parametrize("value", [None, 0, "", [], False])
    def test_none_and_falsy_results_are_results(self, value: Any) -> None:
        task_id = run(value)
        begun = time.monotonic()
        assert result(task_id, wait=-1) == value
        assert result(task_id, wait=5000) == value
        task = fetch(task_id, wait=5000)
        assert task is not None
        assert task.result == value
        assert time.monotonic() - begun < 4

    def test_of_a_failure_it_is_the_text(self) -> None:
        task_id = run("broken", fails=True)
        assert result(task_id).startswith("broken : Traceback")

    def test_waiting_ends_with_the_time(self) -> None:
        begun = time.monotonic()
        assert result(NOBODY, wait=60) is None
        assert fetch(NOBODY, wait=60) is None
        assert 0.12 <= time.monotonic() - begun < 2

    def test_aresult(self) -> None:
        assert asyncio.run(aresult(NOBODY, wait=30)) is None

    def test_aresult_of_a_cached_task(self) -> None:
        task_id = run(None, cached=True)
        assert asyncio.run(aresult(task_id, wait=-1, cached=True)) is None
        task_id = run(7, cached=True)
        assert asyncio.run(aresult(task_id, cached=True)) == 7


@pytest.mark.django_db(transaction=True)
class TestArrival:
    """Somebody else writes the row while we wait."""

    def later(self, **values: Any) -> Callable[[], None]:
        def write() -> None:
            time.sleep(0.05)
            now = clock.now()
            moments = {"started": now, "stopped": now}
            Task.objects.create(name="n", func="a.b", **moments, **values)
            connections.close_all()

        thread = threading.Thread(target=write)
        thread.start()
        return thread.join

    @pytest.mark.parametrize("wait", [-1, 10_000])
    def test_a_result_that_comes_is_found(self, wait: int) -> None:
        ended = self.later(id=NOBODY, result=4)
        assert result(NOBODY, wait=wait) == 4
        ended()

    def test_aresult_lets_others_go_on(self) -> None:
        async def both() -> tuple[Any, int]:
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.01)

            counting = asyncio.create_task(count())
            found = await aresult(NOBODY, wait=10_000)
            counting.cancel()
            return found, turns

        ended = self.later(id=NOBODY, result=4)
        found, turns = asyncio.run(both())
        ended()
        assert found == 4
        assert turns > 1

    def test_a_group_is_waited_for(self) -> None:
        ended = self.later(id=NOBODY, group="g", result=4)
        assert list(result_group("g", wait=10_000) or []) == [4]
        ended()
        ended = self.later(id="e" * 32, group="g", result=5)
        assert len(fetch_group("g", wait=10_000, count=2) or []) == 2
        ended()

    def test_without_a_limit_a_count_takes_as_long_as_it_takes(self) -> None:
        ended = self.later(id=NOBODY, group="g", result=4)
        assert list(result_group("g", count=1) or []) == [4]
        ended()


class TestGroup:
    @pytest.fixture(autouse=True)
    def three(self) -> None:
        run(1, group="g")
        run("broken", group="g", fails=True)
        run(3, group="g")
        run(4, group="other")

    def test_results_without_failures_unless_wanted(self) -> None:
        assert sorted(result_group("g") or []) == [1, 3]
        assert len(result_group("g", failures=True) or []) == 3
        assert isinstance(result_group("g"), QuerySet)

    def test_tasks_with_failures_unless_unwanted(self) -> None:
        assert len(fetch_group("g") or []) == 3
        found = fetch_group("g", failures=False) or []
        assert [task.success for task in found] == [True, True]

    def test_nothing_is_none(self) -> None:
        assert result_group("nobody") is None
        assert fetch_group("nobody", wait=20) is None
        assert result_group("nobody", wait=20, count=1) is None

    def test_counts(self) -> None:
        assert count_group("g") == 3
        assert count_group("g", failures=True) == 1
        assert count_group("nobody") == 0

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_count_is_at_least_so_many(self, count: int) -> None:
        begun = time.monotonic()
        assert len(result_group("g", count=count, wait=-1) or []) == 2
        assert len(fetch_group("g", count=count) or []) == 3
        assert time.monotonic() - begun < 4

    def test_wait_bounds_the_whole_call_and_gives_what_there_is(self) -> None:
        begun = time.monotonic()
        assert len(result_group("g", count=4, wait=60) or []) == 2
        assert 0.06 <= time.monotonic() - begun < 5

    def test_enough_that_all_failed_is_enough(self) -> None:
        run("broken", group="bad", fails=True)
        assert result_group("bad", count=1, wait=-1) is None

    def test_deleting_the_label_keeps_the_tasks(self) -> None:
        assert delete_group("g") == 3
        assert count_group("g") == 0
        assert Task.objects.count() == 4

    def test_deleting_the_tasks(self) -> None:
        assert delete_group("g", tasks=True) == (3, {"django_q.Task": 3})
        assert Task.objects.count() == 1


class TestCached:
    def test_results_by_id_only(self) -> None:
        task_id = run(5, cached=True, task_name="mine")
        assert result(task_id, cached=True) == result_cached(task_id) == 5
        assert result_cached("mine") is None
        assert result(task_id) is None

    def test_the_setting(self, q_settings: Any) -> None:
        q_settings(cached=60)
        task_id = run(5, group="g")
        assert result(task_id) == 5
        assert result(task_id, cached=False) is None
        task = fetch(task_id)
        assert task is not None
        assert task.result == 5
        assert result_group("g") == [5]
        assert count_group("g") == 1
        assert delete_group("g") is None
        assert count_group("g") is None

    def test_a_fetched_task_is_in_no_table_until_it_is_saved(
        self, task_log: str
    ) -> None:
        options = {"cached": True, "group": "g", "hook": "tests.functions.log_result"}
        task_id = async_task("tests.functions.log", task_log, sync=True, **options)
        assert words(task_log) == ["ran", "hook:True"]
        task = fetch_cached(task_id)
        assert task is not None
        assert (task.result, task.group, task.attempt_count) == ("ran", None, 0)
        assert (task.func, task.args) == ("tests.functions.log", (task_log,))
        assert Task.objects.count() == 0
        task.save()
        assert result(task_id) == "ran"
        assert words(task_log) == ["ran", "hook:True", "hook:True"]

    def test_groups(self) -> None:
        for value in (1, 2):
            run(value, cached=True, group="g")
        with pytest.raises(ValueError, match="broken"):
            async_task(
                "tests.functions.fail", "broken", sync=True, cached=True, group="g"
            )
        assert result_group("g", cached=True) == [1, 2]
        assert len(result_group("g", failures=True, cached=True) or []) == 3
        found = fetch_group_cached("g", count=3, wait=-1)
        assert [task.success for task in found or []] == [True, True, False]
        assert count_group("g", cached=True) == 3
        assert count_group("g", failures=True, cached=True) == 1
        assert fetch_group("h", wait=15, cached=True) is None

    def test_deleting_one(self) -> None:
        task_id = run(5, cached=True)
        assert delete_cached(task_id) is True
        assert delete_cached(task_id) is False
        assert result_cached(task_id) is None

    def test_without_a_cache_it_is_told(self, q_settings: Any) -> None:
        q_settings(cache="nowhere")
        with pytest.raises(LookupError, match="CACHES has no 'nowhere'"):
            result_cached(NOBODY)


def test_the_size_of_the_queue(memory: str) -> None:
    assert queue_size() == 0
    async_task("a.b")
    time.sleep(0.01)
    assert queue_size() == 1
    assert queue_size(tasks.enqueue.keep_broker("another")) == 0
