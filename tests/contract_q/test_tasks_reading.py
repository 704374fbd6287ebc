"""Reading results: what is asked wrongly is said in words, at once."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_q import tasks
from django_q.results.waiting import pauses
from django_q.tasks import AsyncTask, Chain, Iter, async_task, result

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

SINGLE = ["result", "fetch", "result_cached", "fetch_cached"]
GROUP = ["result_group", "fetch_group", "result_group_cached", "fetch_group_cached"]


def test_it_looks_every_ten_milliseconds() -> None:
    assert next(pauses(-1)) == 0.01
    assert next(pauses(1000)) == 0.01
    assert list(pauses(0)) == []


@pytest.mark.parametrize("name", [*SINGLE, "delete_cached"])
@pytest.mark.parametrize("wrong", [5, None, b"id", ["id"]])
def test_a_task_is_found_by_text(name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match="found by its id or name, as text, not by"):
        getattr(tasks, name)(wrong)


@pytest.mark.parametrize("name", SINGLE)
def test_for_a_uuid_it_says_how(name: str) -> None:
    with pytest.raises(TypeError, match=r"not by UUID\(.*\)\. Write task_id\.hex\."):
        getattr(tasks, name)(uuid.uuid4())


@pytest.mark.parametrize("name", [*SINGLE, *GROUP])
@pytest.mark.parametrize("wrong", ["5", None, [5], timedelta(seconds=1), math.nan])
def test_waiting_is_a_number_of_milliseconds(name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match="wait must be a number of milliseconds"):
        getattr(tasks, name)("nobody", wait=wrong)


@pytest.mark.parametrize("name", GROUP)
def test_a_count_is_a_whole_number(name: str) -> None:
    for wrong in ("3", 2.5, [3]):
        with pytest.raises(TypeError, match="count must be a whole number, not"):
            getattr(tasks, name)("nobody", count=wrong)


def test_objects_say_the_same() -> None:
    made: list[Any] = [AsyncTask("a.b"), Chain(["a.b"]), Iter("a.b", [1])]
    for thing in made:
        thing.run()
        for ask in (thing.result, thing.fetch):
            with pytest.raises(TypeError, match="wait must be a number"):
                ask(wait="5")


def test_coroutines_are_told_the_same() -> None:
    with pytest.raises(TypeError, match="as text, not by 5"):
        asyncio.run(tasks.aresult(5))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="wait must be a number"):
        asyncio.run(tasks.aresult("id", wait="5"))  # type: ignore[arg-type]


@pytest.mark.parametrize("wait", [0, 0.5, 20, True, math.inf])
def test_what_is_there_is_found_however_long_one_would_wait(
    wait: float, drain: Callable[..., int]
) -> None:
    task_id = async_task("tests.functions.add", 1, 2)
    drain()
    assert result(task_id, wait) == 3
