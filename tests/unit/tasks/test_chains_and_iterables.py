"""Chains, iterables and AsyncTask, queued in memory and done there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from django.core.cache import caches

from django_q import tasks
from django_q.brokers import get_broker
from django_q.models import Task
from django_q.signals import post_execute
from django_q.tasks import (
    AsyncTask,
    Chain,
    Iter,
    async_chain,
    async_iter,
    count_group,
    fetch,
    fetch_group,
    result,
    result_group,
)
from tests.functions import add, words

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

Drain = Callable[..., int]
ADD = "tests.functions.add"
LOG = "tests.functions.log"


class TestChain:
    def test_members_run_in_order_in_one_group(
        self, drain: Drain, task_log: str
    ) -> None:
        links = [(LOG, (task_log, "a")), (LOG, (task_log,), {"word": "b"}), "os.getpid"]
        group = async_chain(links)
        assert drain() == 3
        assert words(task_log) == ["a", "b"]
        assert count_group(group) == 3
        assert len(links) == 3

    @pytest.mark.parametrize("chain", [[[ADD, (1,)]], [ADD, [ADD, (1,)]]])
    def test_a_member_in_a_list_is_refused(self, chain: list[Any]) -> None:
        with pytest.raises(TypeError, match=r"must be a list of functions|is a functi"):
            async_chain(chain)

    @pytest.mark.parametrize(
        ("chain", "error"),
        [("a.b", TypeError), ([], ValueError), ([("a.b", 5)], TypeError)],
    )
    def test_what_is_no_chain(self, chain: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="chain"):
            async_chain(chain)

    def test_a_failed_member_ends_it(self, drain: Drain) -> None:
        group = async_chain([(ADD, (1,)), "tests.functions.fail", (ADD, (2,))])
        assert drain() == 2
        assert count_group(group) == 2
        assert count_group(group, failures=True) == 1

    def test_unless_told_otherwise(self, drain: Drain) -> None:
        chain = ["tests.functions.fail", "tests.functions.fail", (ADD, (2,))]
        group = async_chain(chain, stop_on_failure=False)
        assert drain() == 3
        assert list(result_group(group) or []) == [2]

    def test_a_member_may_change_that_from_there_on(self, drain: Drain) -> None:
        goes_on = ("tests.functions.fail", (), {"stop_on_failure": False})
        stops = ("tests.functions.fail", (), {"stop_on_failure": True})
        async_chain([goes_on, "tests.functions.fail", stops, (ADD, (2,))])
        assert drain() == 3

    def test_members_have_options_of_their_own(self, drain: Drain, memory: str) -> None:
        own = {"q_options": {"cluster": f"{memory}-b", "group": "no", "hook": "a.b"}}
        group = async_chain([(ADD, (1,), own), (ADD, (2,), own)])
        assert drain() == 0
        assert drain(f"{memory}-b") == 2
        assert [task.hook for task in fetch_group(group) or []] == ["a.b", "a.b"]

    def test_cached(self, drain: Drain) -> None:
        group = async_chain([(ADD, (1,)), (ADD, (2,))], cached=True)
        drain()
        assert result_group(group, cached=True) == [1, 2]
        assert count_group(group) == 0

    def test_as_an_object(self, drain: Drain) -> None:
        chain = Chain()
        assert chain.append(ADD, 1) == 1
        assert chain.append(ADD, 2) == 2
        assert (chain.current(), chain.result(), chain.fetch()) == (None, None, None)
        group = chain.run()
        assert (chain.started, chain.group) == (True, group)
        assert chain.current() == 0
        assert chain.result(wait=20) is None
        drain()
        assert (chain.current(), chain.length()) == (2, 2)
        assert sorted(chain.result(wait=-1)) == [1, 2]
        assert len(chain.fetch(wait=-1)) == 2

    def test_a_change_after_the_run_takes_the_label_off(self, drain: Drain) -> None:
        chain = Chain([(ADD, (1,))], group="g")
        chain.run()
        drain()
        assert chain.append(ADD, 2) == 2
        assert not chain.started
        assert count_group("g") == 0
        chain.run()
        drain()
        assert sorted(chain.result(wait=-1)) == [1, 2]

    def test_waiting_for_a_chain_that_stopped_ends(self, drain: Drain) -> None:
        chain = Chain([(ADD, (1,)), "tests.functions.fail", (ADD, (2,))])
        chain.run()
        drain()
        assert list(chain.result(wait=-1)) == [1]
        assert len(chain.fetch(wait=-1)) == 2
        assert len(chain.fetch(failures=False, wait=-1)) == 1

    def test_a_broker_may_be_given(self, drain: Drain, memory: str) -> None:
        Chain([(ADD, (1,))], broker=get_broker(f"{memory}-c")).run()
        assert drain() == 0
        assert drain(f"{memory}-c") == 1


class TestIterable:
    def test_results_come_in_the_order_of_the_arguments(self, drain: Drain) -> None:
        iter_id = async_iter(ADD, [(1, 2), 3, (4,), (5, 6)])
        assert drain() == 4
        task = fetch(iter_id)
        assert task is not None
        assert task.result == [3, 3, 4, 11]
        assert task.args == [(1, 2), 3, (4,), (5, 6)]
        assert (task.func, task.success, task.group) == (ADD, True, None)
        assert Task.objects.count() == 1

    def test_a_list_is_one_argument(self, drain: Drain) -> None:
        iter_id = async_iter("builtins.sum", [[1, 2], [3, 4]])
        drain()
        assert result(iter_id) == [3, 7]

    def test_order_does_not_depend_on_who_ends_first(
        self, drain: Drain, memory: str
    ) -> None:
        broker = get_broker(memory)
        iter_id = async_iter(ADD, list(range(10)))
        packages = [delivery.package for delivery in broker.dequeue(100) or []]
        broker.delete_queue()
        for package in reversed(packages):
            broker.enqueue(package)
        assert result(iter_id) is None
        drain()
        assert result(iter_id) == list(range(10))

    def test_hook_and_group_belong_to_the_whole(
        self, drain: Drain, task_log: str
    ) -> None:
        hook = "tests.functions.log_result"
        iter_id = async_iter(
            LOG, [(task_log, "a"), (task_log, "b")], hook=hook, group="g"
        )
        hooked: list[Any] = []
        with patch("tests.functions.log_result", hooked.append):
            drain()
        assert [task.id for task in hooked] == [iter_id]
        assert [task.id for task in fetch_group("g") or []] == [iter_id]

    def test_failed_members_give_their_error(self, drain: Drain) -> None:
        iter_id = async_iter("math.sqrt", [4, -1, 9])
        drain()
        first, error, last = result(iter_id)
        assert (first, last) == (2, 3)
        assert "math domain error" in error or "nonnegative" in error

    def test_the_whole_may_be_cached(self, drain: Drain) -> None:
        iter_id = async_iter(ADD, [1, 2], cached=60)
        drain()
        assert result(iter_id, cached=True) == [1, 2]
        assert result(iter_id) is None

    def test_the_setting_caches_the_whole(self, drain: Drain, q_settings: Any) -> None:
        q_settings(cached=60)
        iter_id = async_iter(ADD, [1, 2])
        drain()
        assert result(iter_id) == [1, 2]

    def test_nothing_but_the_result_stays_in_the_cache(self, drain: Drain) -> None:
        async_iter(ADD, [1, 2, 3])
        drain()
        cache: Any = caches["default"]
        assert not cache._cache  # noqa: SLF001 - locmem tells it nowhere else

    def test_keywords_reach_the_function_unless_there_are_q_options(
        self, drain: Drain
    ) -> None:
        iter_id = async_iter("tests.functions.echo", [1], x=2)
        drain()
        assert result(iter_id)[0]["kwargs"] == {"x": 2}
        iter_id = async_iter("tests.functions.echo", [1], x=2, q_options={"group": "g"})
        drain()
        assert result(iter_id)[0]["kwargs"] == {}
        assert count_group("g") == 1

    def test_an_empty_one_has_its_result_at_once(self, task_log: str) -> None:
        heard: list[Any] = []

        def receiver(task: dict[str, Any], **_: Any) -> None:
            heard.append(task["id"])

        post_execute.connect(receiver)
        iter_id = async_iter(ADD, [], group="g")
        post_execute.disconnect(receiver)
        assert result(iter_id, wait=-1) == []
        assert count_group("g") == 1
        assert heard == [iter_id]

    def test_arguments_too_large_to_be_kept_are_put_together(
        self, drain: Drain, q_settings: Any, memory: str
    ) -> None:
        q_settings(
            broker_class="django_q.brokers.memory.Memory",
            cluster_name=memory,
            max_package_size=2000,
        )
        iter_id = async_iter("builtins.len", ["x" * 900, "y" * 900, "z" * 900])
        drain()
        task = fetch(iter_id)
        assert task is not None
        assert task.result == [900, 900, 900]
        assert task.args == [("x" * 900,), ("y" * 900,), ("z" * 900,)]

    def test_inline(self) -> None:
        iter_id = async_iter(ADD, [1, (2, 3)], sync=True)
        assert result(iter_id) == [1, 5]

    def test_as_an_object(self, drain: Drain) -> None:
        iterable = Iter(ADD)
        assert iterable.append(1, 2) == 1
        assert iterable.append(3) == 2
        assert (iterable.result(), iterable.fetch(), iterable.id) == (None, None, "")
        iter_id = iterable.run()
        assert (iterable.started, iterable.id) == (True, iter_id)
        assert iterable.result(wait=15) is None
        drain()
        assert iterable.result(wait=-1) == [3, 3]
        task = iterable.fetch()
        assert task is not None
        assert task.args == [(1, 2), (3,)]
        assert iterable.length() == 2
        iterable.append(4)
        assert not iterable.started

    def test_an_object_with_options(self, drain: Drain) -> None:
        iterable = Iter(add, [1, 2], {"q_options": {"group": "g"}}, cached=60)
        iterable.run()
        drain()
        assert iterable.result() == [1, 2]
        iterable = Iter(add, [1, 2], {"group": "g"})
        iterable.run()
        drain()
        assert [task.result for task in fetch_group("g") or []] == [[1, 2]]

    def test_an_object_without_a_function_has_nothing_to_run(self) -> None:
        with pytest.raises(TypeError, match="needs a function"):
            Iter(args=[1]).run()


class TestAsyncTask:
    def test_it_runs_and_is_asked(self, drain: Drain) -> None:
        task = AsyncTask(ADD, 1, 2, group="g")
        assert (task.id, task.started, task.result()) == ("", False, None)
        assert (task.fetch(), task.result_group(), task.fetch_group()) == (None,) * 3
        task_id = task.run()
        assert (task.id, task.started) == (task_id, True)
        assert task.result(wait=15) is None
        drain()
        assert task.result(wait=-1) == 3
        found = task.fetch()
        assert found is not None
        assert found.id == task_id
        assert list(task.result_group()) == [3]
        assert len(task.fetch_group(count=1)) == 1

    def test_options_are_attributes(self) -> None:
        task = AsyncTask(ADD, group="g", hook="a.b")
        assert (task.group, task.hook, task.broker) == ("g", "a.b", None)
        assert (task.cached, task.sync, task.save) == (False, False, True)
        task.run()
        task.save = False
        assert not task.started
        assert task.kwargs == {"group": "g", "hook": "a.b", "save": False}
        assert AsyncTask.save.__class__.__name__ == "TaskOption"

    def test_options_live_in_q_options_if_there_are_any(self) -> None:
        task = AsyncTask(ADD, group="mine", q_options={"group": "g"})
        assert task.group == "g"
        task.cached = 60
        assert task.kwargs == {
            "group": "mine",
            "q_options": {"group": "g", "cached": 60},
        }

    def test_cached(self, drain: Drain) -> None:
        task = AsyncTask(ADD, 1, cached=True, group="g")
        task.run()
        drain()
        assert task.result() == 1
        assert task.result_group() == [1]


class TestDoor:
    """Users replace `django_q.tasks.async_task` in their tests: all must see it."""

    @pytest.fixture
    def calls(self) -> Iterator[list[Any]]:
        made: list[Any] = []

        def replaced(func: Any, *args: Any, **kwargs: Any) -> str:
            made.append(func)
            return "replaced"

        with patch("django_q.tasks.async_task", replaced):
            yield made

    def test_everything_calls_it_there(self, calls: list[Any]) -> None:
        assert AsyncTask("a.task").run() == "replaced"
        async_chain(["a.chain", "a.b"])
        Chain(["another.chain"]).run()
        async_iter("an.iterable", [1, 2])
        assert calls == [
            *("a.task", "a.chain", "another.chain", "an.iterable", "an.iterable")
        ]

    def test_the_door_has_what_it_promises(self) -> None:
        for name in tasks.__all__:
            assert getattr(tasks, name) is not None
        assert {"Task", "Schedule", "schedule"} < set(tasks.__all__)
