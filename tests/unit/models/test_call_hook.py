"""call_hook: a saved task calls its hook, and a bad hook harms nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from django_q import clock
from django_q.models import Task, call_hook

HERE = __name__
seen: list[Task] = []


def remember(task: Task) -> None:
    seen.append(task)


def break_down(task: Task) -> None:
    raise ValueError(f"line\nbreak {task.id}")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("cannot be printed")


def break_unprintably(_task: Task) -> None:
    raise Unprintable


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


def task(hook: Any = None, **columns: Any) -> Task:
    moment = clock.now()
    facts = {"id": "a" * 32, "name": "four-words", "func": "math.sqrt"}
    return Task(**facts | columns, hook=hook, started=moment, stopped=moment)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]


def test_hook_is_called_with_the_task():
    row = task(f"{HERE}.remember")
    call_hook(Task, row)
    assert seen == [row]


def test_hook_in_memory_is_called():
    row = task(remember)
    call_hook(Task, row)
    assert seen == [row]


@pytest.mark.parametrize("hook", [None, ""])
def test_task_without_hook_calls_nothing(hook: str | None):
    call_hook(Task, task(hook))
    assert seen == []


def test_loading_a_fixture_calls_nothing():
    call_hook(Task, task(f"{HERE}.remember"), raw=True)
    assert seen == []


@pytest.mark.parametrize(
    "hook", ["nowhere.to.be.found", f"{HERE}.absent", "no_dot", f"{HERE}.seen"]
)
def test_hook_that_is_not_there_is_logged(hook: str, caplog: pytest.LogCaptureFixture):
    call_hook(Task, task(hook))
    assert errors(caplog) == [f"malformed return hook '{hook}' for [four-words]"]


def test_hook_that_raises_is_logged(caplog: pytest.LogCaptureFixture):
    call_hook(Task, task(f"{HERE}.break_down"))
    (said,) = errors(caplog)
    assert said.startswith(f"return hook {HERE}.break_down failed on [four-words]")
    assert "because line\\nbreak aaa" in said


def test_hook_that_raises_unprintably_is_logged(caplog: pytest.LogCaptureFixture):
    call_hook(Task, task(break_unprintably))
    (said,) = errors(caplog)
    assert "failed on [four-words] because <test_call_hook.Unprintable" in said


@pytest.mark.django_db
def test_every_save_of_a_task_calls_its_hook():
    row = task(f"{HERE}.remember")
    row.save()
    row.save()
    assert seen == [row, row]
