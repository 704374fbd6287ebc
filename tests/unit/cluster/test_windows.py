"""How many packages a worker has in hand."""

from __future__ import annotations

import pytest

from django_q.cluster.windows import (
    FIRST_WINDOW,
    LARGEST_WINDOW,
    LONG_TASK,
    LONGEST_FETCH,
    LONGEST_REACH,
    WORK_AHEAD,
    fair_share,
    how_many_to_fetch,
    window,
)


def test_before_the_first_run_a_few() -> None:
    assert window(0.0) == FIRST_WINDOW


@pytest.mark.parametrize("pace", [LONG_TASK, 0.5, 600.0])
def test_one_waits_behind_a_long_task(pace: float) -> None:
    assert window(pace) == 1


@pytest.mark.parametrize(
    ("pace", "reach", "size"),
    [
        (0.06, 0.002, 1),
        (0.06, 1.2, 20),
        (0.06, 60.0, int(LONGEST_REACH / 0.06)),
        (600.0, 1.2, 1),
        (0.005, 0.1, window(0.005)),
        (0.005, 1.0, 200),
        (0.0, 1.0, FIRST_WINDOW),
    ],
)
def test_enough_is_in_hand_for_as_long_as_fetching_takes(
    pace: float, reach: float, size: int
) -> None:
    assert window(pace, reach) == size


def test_tiny_tasks_have_a_bound() -> None:
    assert window(1e-9) == LARGEST_WINDOW


@pytest.mark.parametrize("pace", [0.0007, 0.001, 0.005, 0.0199])
def test_what_waits_is_a_moment_of_work(pace: float) -> None:
    assert window(pace) * pace <= WORK_AHEAD < (window(pace) + 1) * pace


def test_longer_tasks_never_have_a_larger_window() -> None:
    sizes = [window(step / 1e5) for step in range(1, 5000)]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) == 1


@pytest.mark.parametrize(
    ("waiting", "workers", "share"),
    [(0, 4, 1), (1, 4, 1), (4, 4, 1), (5, 4, 2), (100, 3, 34), (7, 0, 7), (0, 0, 1)],
)
def test_shares_are_even_and_rounded_up(waiting: int, workers: int, share: int) -> None:
    assert fair_share(waiting, workers) == share


@pytest.mark.parametrize("waiting", range(30))
@pytest.mark.parametrize("workers", range(1, 6))
def test_shares_leave_nothing(waiting: int, workers: int) -> None:
    assert fair_share(waiting, workers) * workers >= waiting


@pytest.mark.parametrize(
    ("room", "whole", "idle", "worth"),
    [
        (0, 8, True, False),
        (-3, 8, True, False),
        (1, 8, True, True),
        (1, 8, False, False),
        (2, 8, False, True),
        (8, 8, False, True),
    ],
)
def test_fetch_for_an_idle_worker_or_much(
    room: int, whole: int, idle: bool, worth: bool
) -> None:
    count = how_many_to_fetch(room, whole, None, someone_idle=idle)
    assert count == (room if worth else 0)


@pytest.mark.parametrize(("room", "most", "count"), [(9, 4, 4), (9, 10, 9)])
def test_fetch_no_more_at_once_than_is_meant(room: int, most: int, count: int) -> None:
    assert how_many_to_fetch(room, 10, most, someone_idle=True) == count


def test_fetch_of_a_large_room_has_a_bound() -> None:
    fetched = how_many_to_fetch(10_000, 10_000, None, someone_idle=False)
    assert fetched == LONGEST_FETCH
