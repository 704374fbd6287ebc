"""Clocks, and children for tests, gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from tests.unit.cluster.making import Clock, Nursery


@pytest.fixture
def clock_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType], Clock]:
    """Gives a module a clock that goes when told to."""

    def clock_of(module: ModuleType) -> Clock:
        clock = Clock()
        monkeypatch.setattr(module, "monotonic", clock)
        return clock

    return clock_of


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()
