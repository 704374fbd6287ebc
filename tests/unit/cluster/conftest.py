"""Children for tests, gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.cluster.making import Nursery


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()
