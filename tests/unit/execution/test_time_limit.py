"""The soft timeout: inside what takes too long, and nowhere else."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_q.exceptions import TimeoutException
from django_q.execution.timeouts import AGAIN_EVERY, TimeLimit
from tests.functions import add, sleep, spin


@pytest.fixture(autouse=True)
def alarm_is_left_as_it_was() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=[True, False], ids=["owner", "guest"])
def limit(request: Any) -> TimeLimit:
    return TimeLimit(owns_process=request.param)


def test_what_is_quick_enough_just_runs(limit: TimeLimit) -> None:
    assert limit.call(5, add, 1, 2) == 3
    assert limit.call(None, add, 1, 2) == 3
    for nothing in (0, -1, float("inf"), float("nan")):
        assert limit.call(nothing, add, 1, 2) == 3


@pytest.mark.parametrize("task", [sleep, spin, time.sleep])
def test_what_takes_too_long_is_interrupted(
    limit: TimeLimit, task: Callable[[float], Any]
) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutException, match=r"maximum timeout value \(0.05 seconds"):
        limit.call(0.05, task, 5.0)
    assert 0.05 <= time.monotonic() - begun < 1


def test_the_shortest_limit_is_a_limit(limit: TimeLimit) -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutException):
        limit.call(1e-9, sleep, 5.0)
    # An alarm that rings just before the sleep begins does not end it: the next one does.
    assert time.monotonic() - begun < AGAIN_EVERY + 1


def test_except_exception_does_not_catch_it(limit: TimeLimit) -> None:
    def careful() -> str:
        try:
            time.sleep(5)
        except Exception:  # noqa: BLE001 - that is the point
            return "caught"
        return "slept"

    with pytest.raises(TimeoutException):
        limit.call(0.05, careful)


def test_it_comes_again_when_it_was_swallowed(limit: TimeLimit) -> None:
    swallowed: list[BaseException] = []

    def stubborn() -> None:
        try:
            time.sleep(5)
        except BaseException as error:  # noqa: BLE001 - that is the point
            swallowed.append(error)
        time.sleep(5)

    begun = time.monotonic()
    with pytest.raises(TimeoutException):
        limit.call(0.05, stubborn)
    assert len(swallowed) == 1
    assert time.monotonic() - begun < 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_comes_again_when_a_destructor_lost_it(limit: TimeLimit) -> None:
    class Slow:
        def __del__(self) -> None:
            time.sleep(0.3)

    def task() -> None:
        Slow()
        time.sleep(5)

    begun = time.monotonic()
    with pytest.raises(TimeoutException):
        limit.call(0.05, task)
    assert time.monotonic() - begun < 3


def test_exceptions_pass(limit: TimeLimit) -> None:
    with pytest.raises(ZeroDivisionError):
        limit.call(5, lambda: 1 / 0)


def test_around_the_deadline_there_is_one_end_and_nobody_else_is_hit() -> None:
    """Tasks that end at the very moment of the alarm, again and again."""
    limit = TimeLimit(owns_process=True)
    ends = {"returned": 0, "timed out": 0}
    for number in range(3000):
        seconds = 0.0002
        stop = time.monotonic() + seconds * (0.9 + number % 20 / 100)

        def task(stop: float = stop) -> str:
            while time.monotonic() < stop:
                pass
            return "returned"

        try:
            end = limit.call(seconds, task)
        except TimeoutException:
            end = "timed out"
        ends[end] += 1
    assert sum(ends.values()) == 3000
    assert min(ends.values()) > 0


def test_a_handler_that_a_task_left_behind_is_replaced() -> None:
    limit = TimeLimit(owns_process=True)
    limit.call(1, signal.signal, signal.SIGALRM, signal.SIG_IGN)
    with pytest.raises(TimeoutException):
        limit.call(0.05, sleep, 5.0)


def test_a_timer_that_a_task_set_does_not_outlive_it() -> None:
    limit = TimeLimit(owns_process=True)
    limit.call(1, signal.alarm, 100)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


class TestGuest:
    def test_handler_and_timer_are_put_back(self) -> None:
        rung: list[int] = []
        signal.signal(signal.SIGALRM, lambda number, _frame: rung.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.2, 0)
        with pytest.raises(TimeoutException):
            TimeLimit().call(0.05, sleep, 5.0)
        rest, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < rest < 0.2
        signal.pause()
        assert rung == [signal.SIGALRM]

    def test_a_timer_that_is_overdue_rings_afterwards(self) -> None:
        rung: list[int] = []
        signal.signal(signal.SIGALRM, lambda number, _frame: rung.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0)
        assert TimeLimit().call(5, sleep, 0.05) == 0.05
        while not rung:
            signal.pause()
        assert rung == [signal.SIGALRM]

    def test_a_limit_inside_a_limit(self) -> None:
        outer, inner = TimeLimit(owns_process=True), TimeLimit()

        def task() -> float:
            with pytest.raises(TimeoutException, match=r"0\.05 seconds"):
                inner.call(0.05, sleep, 5.0)
            return sleep(5.0)

        begun = time.monotonic()
        with pytest.raises(TimeoutException, match=r"0\.2 seconds"):
            outer.call(0.2, task)
        assert time.monotonic() - begun < 1


def test_in_another_thread_there_is_no_limit_and_the_log_says_so(
    limit: TimeLimit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "django-q")
    results: list[float] = []
    thread = threading.Thread(
        target=lambda: results.append(limit.call(0.01, sleep, 0.05))
    )
    thread.start()
    thread.join()
    assert results == [0.05]
    assert "no time limit" in caplog.text


@pytest.mark.parametrize("owns_process", [True, False])
def test_where_there_is_no_such_alarm_there_is_no_limit(
    monkeypatch: pytest.MonkeyPatch, *, owns_process: bool
) -> None:
    with monkeypatch.context() as windows:
        windows.delattr(signal, "setitimer")
        limit = TimeLimit(owns_process=owns_process)
        assert limit.call(0.01, sleep, 0.05) == 0.05
