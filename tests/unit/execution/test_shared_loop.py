"""Which event loop coroutines run on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import pytest

from django_q.execution.shared_loop import SharedLoop


@pytest.fixture
def shared() -> Iterator[SharedLoop]:
    made = SharedLoop()
    yield made
    made.close()


class FakeUvloop(ModuleType):
    """Its loop is one of asyncio's, and known."""

    def __init__(self) -> None:
        super().__init__("uvloop")
        self.made: list[asyncio.AbstractEventLoop] = []

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        self.made.append(asyncio.new_event_loop())
        return self.made[-1]


def loop_of(shared: SharedLoop) -> Any:
    """On which a coroutine that is begun finds itself."""
    found: SimpleQueue[Any] = SimpleQueue()

    async def tell() -> None:
        found.put(asyncio.get_running_loop())

    shared.start(tell())
    return found.get(timeout=30.0)


def test_loop_is_uvloops_where_that_is_installed(
    shared: SharedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    uvloop = FakeUvloop()
    monkeypatch.setitem(sys.modules, "uvloop", uvloop)
    first = loop_of(shared)
    assert uvloop.made == [first]
    assert loop_of(shared) is first


def test_loop_is_asyncios_where_uvloop_is_missing(
    shared: SharedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert isinstance(loop_of(shared), asyncio.SelectorEventLoop)
