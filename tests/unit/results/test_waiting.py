"""Waiting: milliseconds, for ever, or not at all."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

from django_q.results import wait_for, wait_for_async


def wait_async(look: Callable[[], Any], wait_ms: float = 0) -> Any:
    return asyncio.run(wait_for_async(look, wait_ms))


@pytest.fixture(params=[wait_for, wait_async])
def wait(request: Any) -> Callable[..., Any]:
    chosen: Callable[..., Any] = request.param
    assert not inspect.iscoroutinefunction(chosen)
    return chosen


class Arrival:
    """Comes with a certain look."""

    def __init__(self, at_look: int, what: Any = "here") -> None:
        self.looks, self.at_look, self.what = 0, at_look, what

    def __call__(self) -> Any:
        self.looks += 1
        return self.what if self.looks >= self.at_look else None


def test_nought_looks_once(wait: Callable[..., Any]) -> None:
    look = Arrival(2)
    assert wait(look) is None
    assert look.looks == 1


def test_what_is_there_needs_no_wait(wait: Callable[..., Any]) -> None:
    begun = time.monotonic()
    assert wait(Arrival(1), 5000) == "here"
    assert time.monotonic() - begun < 4


def test_what_comes_in_time_is_found(wait: Callable[..., Any]) -> None:
    assert wait(Arrival(4), 10_000) == "here"
    assert wait(Arrival(4), -1) == "here"


@pytest.mark.parametrize("what", [0, False, "", []])
def test_falsy_things_are_things(wait: Callable[..., Any], what: Any) -> None:
    look = Arrival(1, what)
    assert wait(look, 1000) == what
    assert look.looks == 1


def test_it_gives_up_on_time(wait: Callable[..., Any]) -> None:
    look = Arrival(10_000)
    begun = time.monotonic()
    assert wait(look, 55) is None
    assert 0.05 <= time.monotonic() - begun < 5
    assert 1 < look.looks < 10
