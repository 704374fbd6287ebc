"""The calls of django_q.tasks in all forms that earlier releases took."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import pytest

from django_q import tasks
from django_q.brokers import get_broker
from django_q.brokers.memory import Memory
from django_q.envelope import Envelope
from django_q.humanhash import humanize
from django_q.models import Schedule, Task
from django_q.signals import pre_enqueue
from django_q.tasks import (
    AsyncTask,
    Chain,
    Iter,
    async_chain,
    async_iter,
    async_task,
    count_group,
    fetch,
    result,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

Drain = Callable[..., int]
ADD = "tests.functions.add"


class Shelf:
    """A class of a project, with every kind of method."""

    def __init__(self, size: int = 2) -> None:
        self.size = size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shelf) and other.size == self.size

    def __hash__(self) -> int:
        return self.size

    def __call__(self, more: int) -> int:
        return self.size + more

    def grown(self, more: int) -> int:
        return self.size + more

    @classmethod
    def made(cls, size: int) -> Shelf:
        return cls(size)

    @staticmethod
    def height(size: int) -> int:
        return 10 * size


def waiting(queue: str | None = None) -> list[Envelope]:
    taken = get_broker(queue).dequeue(100) or []
    return [Envelope.open(delivery.package) for delivery in taken]


# ---------------------------------------------------------------------- async_task


@pytest.mark.parametrize(
    ("func", "args", "expected"),
    [
        (len, ("four",), 4),
        (os.path.basename, ("/a/b",), "b"),
        (Counter, ("aab",), Counter("aab")),
        (dict.fromkeys, ((1, 2),), {1: None, 2: None}),
        (Shelf, (3,), Shelf(3)),
        (Shelf.made, (3,), Shelf(3)),
        (Shelf.height, (3,), 30),
        (Shelf(4).grown, (3,), 7),
        (Shelf(4), (3,), 7),
        (PurePosixPath("/a/b").is_relative_to, ("/a",), True),
        (partial(Shelf.height, 3), (), 30),
        ("builtins.len", ("four",), 4),
        (f"{__name__}.Shelf", (3,), Shelf(3)),
        (f"{__name__}.Shelf.made", (3,), Shelf(3)),
        (f"{__name__}.Shelf.height", (3,), 30),
    ],
)
def test_whatever_can_be_called_is_a_task(
    func: Any, args: tuple[Any, ...], expected: Any, drain: Drain
) -> None:
    task_id = async_task(func, *args)
    drain()
    task = fetch(task_id)
    assert task is not None
    assert (task.success, task.result) == (True, expected)


class TestNameOfTheTask:
    def test_it_counts_for_one_call_of_several_with_the_same_q_options(self) -> None:
        """It is taken out of the caller's dictionary, as it always was."""
        chosen = {"task_name": "monthly", "group": "g"}
        first, second = (async_task(ADD, q_options=chosen) for _ in range(2))
        assert chosen == {"group": "g"}
        names = {envelope.id: envelope.name for envelope in waiting()}
        assert names == {first: "monthly", second: humanize(second)}

    def test_a_keyword_beats_it_and_leaves_it_there(self) -> None:
        chosen = {"task_name": "monthly"}
        async_task(ADD, task_name="weekly", q_options=chosen)
        assert [envelope.name for envelope in waiting()] == ["weekly"]
        assert chosen == {"task_name": "monthly"}

    def test_it_stays_there_if_nothing_was_queued(self) -> None:
        def refuse(**_: Any) -> None:
            raise PermissionError

        chosen = {"task_name": "monthly"}
        pre_enqueue.connect(refuse)
        with pytest.raises(PermissionError):
            async_task(ADD, q_options=chosen)
        pre_enqueue.disconnect(refuse)
        assert chosen == {"task_name": "monthly"}

    def test_q_options_that_can_not_change_do(self) -> None:
        async_task(ADD, q_options=MappingProxyType({"task_name": "fixed"}))
        assert [envelope.name for envelope in waiting()] == ["fixed"]

    def test_several_tasks_may_have_one(self, drain: Drain) -> None:
        for _ in range(2):
            async_task(ADD, 1, task_name="twin")
        drain()
        with pytest.raises(Task.MultipleObjectsReturned):
            result("twin")


def test_options_of_the_settings_are_in_the_package_only_when_they_are_true(
    q_settings: Any,
) -> None:
    absent = {"cached", "sync", "ack_failure"}
    async_task(ADD)
    q_settings(cached=False, sync=False, ack_failures=False)
    async_task(ADD)
    first, second = waiting()
    assert not absent & (first.as_dict().keys() | second.as_dict().keys())


def test_the_group_may_be_as_long_as_its_column(drain: Drain) -> None:
    async_task(ADD, 1, group="g" * 100)
    drain()
    assert count_group("g" * 100) == 1


# ------------------------------------------------------------------ chains, iterables


class TestChain:
    def test_what_was_given_stays_as_it_is(self, drain: Drain) -> None:
        options: dict[str, Any] = {"q_options": {"hook": None}}
        links: list[Any] = [(ADD, (1,), {}), (ADD, (2,), options), ADD]
        before = repr(links)
        async_chain(links, group="g", cached=False, sync=False)
        assert repr(links) == before
        drain()
        assert count_group("g") == 3

    def test_positional_arguments(self, memory: str, drain: Drain) -> None:
        group = async_chain([(ADD, (1,))], "g", True, False, get_broker(memory))
        assert group == "g"
        assert drain() == 1
        assert count_group("g", cached=True) == 1
        chain = Chain([(ADD, (1,))], "h", False, False, get_broker(memory))
        assert chain.run() == "h"

    @pytest.mark.parametrize("wrong", [5, 2.5, object()])
    def test_what_is_none_is_said_in_words(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="'chain' must be a list of functions"):
            async_chain(wrong)


class TestIterable:
    def test_with_q_options_all_other_keywords_are_ignored(self, drain: Drain) -> None:
        iter_id = async_iter(ADD, [1, 2], group="no", q_options={"group": "g"})
        drain()
        task = fetch(iter_id)
        assert task is not None
        assert (task.group, task.result) == ("g", [1, 2])

    def test_positional_arguments(self, memory: str, drain: Drain) -> None:
        made = Iter(ADD, [1, 2], {}, True, False, get_broker(memory))
        made.run()
        drain()
        assert made.result() == [1, 2]
        assert result(made.id, cached=True) == [1, 2]

    def test_the_whole_began_when_its_last_part_did(self, drain: Drain) -> None:
        parts: list[Any] = []

        def note(task: dict[str, Any], **_: Any) -> None:
            parts.append(task["started"])

        pre_enqueue.connect(note)
        iter_id = async_iter(ADD, [1, 2, 3])
        pre_enqueue.disconnect(note)
        drain()
        task = fetch(iter_id)
        assert task is not None
        assert task.started == parts[-1]


# ------------------------------------------------------------------------ AsyncTask


class TestAsyncTask:
    OPTIONS: tuple[tuple[str, Any], ...] = (
        ("broker", Memory()),
        ("sync", True),
        ("save", False),
        ("hook", "a.b"),
        ("group", "g"),
        ("cached", 60),
    )

    @pytest.mark.parametrize(("name", "value"), OPTIONS)
    @pytest.mark.parametrize("place", [{}, {"q_options": {"timeout": 5}}])
    def test_each_option_is_read_and_written(
        self, name: str, value: Any, place: dict[str, Any]
    ) -> None:
        task = AsyncTask(ADD, 1, **{k: dict(v) for k, v in place.items()})
        task.started = True
        setattr(task, name, value)
        assert getattr(task, name) == value
        assert not task.started
        assert task.options[name] == value
        assert (name in task.kwargs) == (not place)

    def test_what_was_not_said_is_what_the_settings_say(self, q_settings: Any) -> None:
        task = AsyncTask(ADD)
        assert (task.sync, task.save, task.cached) == (False, True, False)
        assert (task.broker, task.hook, task.group) == (None, None, None)
        q_settings(sync=True, save_limit=-1, cached=9)
        assert (task.sync, task.save, task.cached) == (True, False, 9)

    def test_it_runs_again_with_another_id(self, drain: Drain) -> None:
        task = AsyncTask(ADD, 1, group="g")
        first = task.run()
        task.group = "h"
        assert task.result() is task.fetch() is task.result_group() is None
        second = task.run()
        assert first != second == task.id
        drain()
        assert (task.result(), count_group("g"), count_group("h")) == (1, 1, 1)
        assert list(task.result_group(count=1, wait=500)) == [1]
        assert [t.id for t in task.fetch_group(count=1, wait=500)] == [second]

    def test_attributes(self) -> None:
        task = AsyncTask(ADD, 1, 2, x=3, group="g")
        assert (task.id, task.started, task.func) == ("", False, ADD)
        assert (task.args, task.kwargs) == ((1, 2), {"x": 3, "group": "g"})


# ------------------------------------------------------------------------- the door


class TestDoor:
    """Tests of projects replace `django_q.tasks.async_task`, and all must see it."""

    @pytest.fixture
    def replaced(self) -> Iterator[Any]:
        with patch("django_q.tasks.async_task", return_value="id") as replaced:
            yield replaced

    def test_a_chain_calls_it_with_what_is_common_as_keywords(
        self, replaced: Any
    ) -> None:
        async_chain([(ADD, (1,), {"x": 2}), ADD], group="g", sync=False)
        replaced.assert_called_once_with(
            ADD, 1, x=2, chain=[ADD], group="g", sync=False
        )

    def test_an_iterable_calls_it_for_each_part(self, replaced: Any) -> None:
        async_iter(ADD, [(1, 2), 3], x=4)
        assert [call.args for call in replaced.call_args_list] == [
            (ADD, 1, 2),
            (ADD, 3),
        ]
        assert all(call.kwargs["x"] == 4 for call in replaced.call_args_list)

    def test_objects_call_it_when_they_run(self, replaced: Any) -> None:
        AsyncTask(ADD, 1, x=2).run()
        Chain([ADD]).run()
        Iter(ADD, [1]).run()
        assert [call.args[0] for call in replaced.call_args_list] == [ADD] * 3

    def test_models_are_found_at_it(self) -> None:
        assert tasks.Task is Task
        assert tasks.Schedule is Schedule
