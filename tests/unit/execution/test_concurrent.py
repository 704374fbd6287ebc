"""Many tasks at once: in threads and on one event loop, each within its own limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest

from django_q.envelope import Envelope
from django_q.exceptions import TimeoutException
from django_q.execution.concurrent import ConcurrentRunner
from django_q.execution.threads import ThreadLimit, Threads
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.signals import post_execute_in_worker, pre_execute
from tests import functions

TOO_LONG = 30.0
"""Seconds that no test waits."""

marked: ContextVar[str] = ContextVar("marked", default="no")


@pytest.fixture
def runner() -> Iterator[ConcurrentRunner]:
    made = ConcurrentRunner(Options(concurrency=100, timeout=20))
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[Callable[[int], Threads]]:
    made: list[Threads] = []

    def make(most: int) -> Threads:
        made.append(Threads(most))
        return made[-1]

    yield make
    for each in made:
        each.close()


def envelope(func: Any, *args: Any, **options: Any) -> Envelope:
    return Envelope.from_call(func, args, {}, options)


def run(runner: ConcurrentRunner, *envelopes: Envelope) -> list[Outcome]:
    """Their outcomes, in their order; they run side by side."""
    ended: SimpleQueue[tuple[int, Outcome]] = SimpleQueue()

    async def go(index: int, one: Envelope) -> None:
        ended.put((index, await runner.execute_async(one)))

    for index, one in enumerate(envelopes):
        runner.loop.start(go(index, one))
    return [found for _, found in sorted((get(ended) for _ in envelopes), key=first)]


def first(pair: tuple[int, Outcome]) -> int:
    return pair[0]


def get(queue: SimpleQueue[Any]) -> Any:
    return queue.get(timeout=TOO_LONG)


# -- coroutines


async def meet(barrier: asyncio.Barrier) -> int:
    """Ends when so many others are here."""
    return await barrier.wait()


async def fail_later() -> None:
    await asyncio.sleep(0)
    raise ValueError("on purpose")


async def hold_on() -> str:
    """Catch the first cancellation, and go on for ever."""
    try:
        await asyncio.sleep(TOO_LONG)
    except asyncio.CancelledError:
        await asyncio.sleep(TOO_LONG)
    return "ended"


async def leave() -> None:
    raise SystemExit(3)


async def leave_stray(seen: list[str]) -> None:
    async def stray() -> None:
        try:
            await asyncio.sleep(TOO_LONG)
        finally:
            seen.append("ended")

    seen.append("begun")
    keep = asyncio.create_task(stray())
    await asyncio.sleep(0)
    assert not keep.done()


async def mark() -> str:
    before = marked.get()
    marked.set("yes")
    await asyncio.sleep(0)
    return before


class Lazy:
    async def __call__(self) -> str:
        return "called"


def give_coroutine() -> Any:
    return functions.add_later(1, 2)


def test_coroutines_run_side_by_side(runner: ConcurrentRunner) -> None:
    """Each waits for all the others."""
    barrier = asyncio.Barrier(50)
    outcomes = run(runner, *(envelope(meet, barrier) for _ in range(50)))
    assert sorted(outcome.result for outcome in outcomes) == list(range(50))


def test_failure_of_one_is_none_of_the_others(runner: ConcurrentRunner) -> None:
    failed, left, good = run(
        runner,
        envelope(fail_later),
        envelope(leave),
        envelope(functions.add_later, 1, 2),
    )
    assert (failed.success, failed.summary) == (False, "ValueError: on purpose")
    assert "shared_loop" not in failed.result
    assert "execution/concurrent.py" not in failed.result
    assert (left.success, left.summary) == (False, "SystemExit: 3")
    assert (good.success, good.result) == (True, 3)


def test_coroutine_is_cancelled_at_its_limit_and_others_go_on(
    runner: ConcurrentRunner,
) -> None:
    late, good = run(
        runner,
        envelope(asyncio.sleep, TOO_LONG, timeout=0.05),
        envelope(functions.add_later, 1, 2),
    )
    assert (late.success, late.cause) == (False, Cause.TIMED_OUT)
    assert "Task exceeded maximum timeout value (0.05 seconds)" in late.result
    assert good.success


def test_coroutine_that_swallows_the_cancellation_hears_of_it_again(
    runner: ConcurrentRunner,
) -> None:
    [late] = run(runner, envelope(hold_on, timeout=0.05))
    assert late.cause is Cause.TIMED_OUT


def test_what_a_coroutine_began_ends_with_it(runner: ConcurrentRunner) -> None:
    seen: list[str] = []
    stray, good = run(
        runner, envelope(leave_stray, seen), envelope(functions.add_later, 1)
    )
    assert (stray.success, good.success) == (True, True)
    assert seen == ["begun", "ended"]


def test_context_of_a_coroutine_is_its_own(runner: ConcurrentRunner) -> None:
    outcomes = run(runner, envelope(mark), envelope(mark))
    assert [outcome.result for outcome in outcomes] == ["no", "no"]


def test_receivers_may_ask_the_database(runner: ConcurrentRunner) -> None:
    """They are no coroutines: where a loop runs, Django would refuse that."""
    seen: list[str] = []

    def receive(**_: Any) -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        seen.append(threading.current_thread().name)

    for signal in (pre_execute, post_execute_in_worker):
        signal.connect(receive)
    try:
        [outcome] = run(runner, envelope(functions.add_later, 1, 2))
    finally:
        for signal in (pre_execute, post_execute_in_worker):
            signal.disconnect(receive)
    assert outcome.success
    assert len(seen) == 2
    assert "django-q event loop" not in seen


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (functions.add_later, True),
        ("tests.functions.add_later", True),
        (Lazy(), True),
        (partial(functions.add_later, 1), True),
        (functions.add, False),
        (give_coroutine, False),
        ("tests.functions.missing", False),
    ],
)
def test_coroutine_functions_are_known(
    runner: ConcurrentRunner, func: Any, *, expected: bool
) -> None:
    assert runner.is_coroutine(envelope(func)) is expected


def test_missing_function_is_a_failure(runner: ConcurrentRunner) -> None:
    [outcome] = run(runner, envelope("tests.functions.missing"))
    assert outcome.summary.startswith("TaskNotFound")


# -- threads


def test_threads_run_side_by_side(threads: Callable[[int], Threads]) -> None:
    pool, barrier = threads(4), threading.Barrier(4)
    ended: SimpleQueue[int] = SimpleQueue()
    for _ in range(4):
        assert pool.has_room
        pool.start(lambda: ended.put(barrier.wait(TOO_LONG)))
    assert not pool.has_room
    assert sorted(get(ended) for _ in range(4)) == [0, 1, 2, 3]
    pool.ended()
    assert pool.has_room


def test_thread_serves_on_and_keeps_no_context(
    threads: Callable[[int], Threads],
) -> None:
    pool = threads(1)
    seen: SimpleQueue[Any] = SimpleQueue()

    def job() -> None:
        seen.put((threading.get_ident(), marked.get()))
        marked.set("yes")
        raise SystemExit

    pool.start(job)
    pool.ended()
    pool.start(job)
    one, other = get(seen), get(seen)
    assert one == other
    assert one[1] == "no"


def test_plain_function_that_gives_a_coroutine(runner: ConcurrentRunner) -> None:
    assert runner.execute(envelope(give_coroutine)).result == 3


def spin() -> None:
    while True:
        time.sleep(0.001)


def test_limit_interrupts_python_in_any_thread(
    runner: ConcurrentRunner, threads: Callable[[int], Threads]
) -> None:
    pool = threads(2)
    ended: SimpleQueue[Outcome] = SimpleQueue()
    late, good = envelope(spin, timeout=0.05), envelope(functions.add, 1, 2)
    pool.start(lambda: ended.put(runner.execute(late)))
    pool.start(lambda: ended.put(runner.execute(good)))
    outcomes = sorted((get(ended) for _ in range(2)), key=lambda o: o.success)
    assert outcomes[0].cause is Cause.TIMED_OUT
    assert outcomes[0].summary.endswith("maximum timeout value (0.05 seconds)")
    assert outcomes[1].result == 3


def test_limit_that_was_swallowed_comes_again() -> None:
    limit, seen = ThreadLimit(), []

    def swallow_once() -> None:
        try:
            spin()
        except TimeoutException:
            seen.append("swallowed")
        spin()

    with pytest.raises(TimeoutException, match=r"\(0.05 seconds\)"):
        limit.call(0.05, swallow_once)
    limit.close()
    assert seen == ["swallowed"]


@pytest.mark.parametrize("seconds", [None, 0, -1, 1e12])
def test_no_limit_calls_plainly(seconds: float | None) -> None:
    limit = ThreadLimit()
    assert limit.call(seconds, functions.add, 1, 2) == 3
    limit.close()


def test_limit_hits_the_call_and_nothing_behind_it() -> None:
    """However close to its end it comes: either it ended, or it was late."""
    limit, ended = ThreadLimit(), []
    for n in range(100):
        try:
            ended.append(limit.call(0.001, time.sleep, 0.001 + n % 7 * 0.0001))
        except TimeoutException:
            ended.append(None)
        for _ in range(20):
            time.sleep(0)
    limit.close()
    assert len(ended) == 100
