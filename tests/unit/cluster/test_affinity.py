"""Which processors a worker may use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from django_q.cluster.affinity import choose_processors, restrict_to_share

HAS_AFFINITY = hasattr(os, "sched_setaffinity")


@pytest.fixture
def own_processors() -> Iterator[list[int]]:
    before = os.sched_getaffinity(0)
    yield sorted(before)
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize("share", [0, -1, 4, 5])
def test_no_share_or_a_whole_one_is_no_restriction(share: int) -> None:
    assert choose_processors(2, share, [0, 1, 2, 3]) == [0, 1, 2, 3]


def test_processors_are_dealt_out_round_robin() -> None:
    dealt = [choose_processors(worker, 1, [0, 1, 2, 3]) for worker in range(6)]
    assert dealt == [[0], [1], [2], [3], [0], [1]]


def test_shares_of_two() -> None:
    dealt = [choose_processors(worker, 2, [0, 1, 2, 3]) for worker in range(4)]
    assert dealt == [[0, 1], [2, 3], [0, 1], [2, 3]]


def test_share_that_does_not_divide_goes_round() -> None:
    dealt = [choose_processors(worker, 3, [0, 1, 2, 3]) for worker in range(3)]
    assert dealt == [[0, 1, 2], [3, 0, 1], [2, 3, 0]]


def test_only_processors_that_we_have() -> None:
    assert choose_processors(1, 1, [3, 7]) == [7]
    assert choose_processors(2, 1, [3, 7]) == [3]


@pytest.mark.skipif(not HAS_AFFINITY, reason="this system has no affinity")
def test_process_is_bound_to_its_share(own_processors: list[int]) -> None:
    restrict_to_share(1, 1)
    chosen = choose_processors(1, 1, own_processors)
    assert sorted(os.sched_getaffinity(0)) == sorted(chosen)


@pytest.mark.skipif(not HAS_AFFINITY, reason="this system has no affinity")
def test_without_a_share_nothing_changes(own_processors: list[int]) -> None:
    restrict_to_share(1, 0)
    assert sorted(os.sched_getaffinity(0)) == own_processors
