"""Functions of a project's own in the place of those of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from unittest import mock

import pytest

from django_q import cluster as door
from django_q.brokers.memory import Memory
from django_q.cluster.lines import Line
from django_q.cluster.replaced import find_replaced
from django_q.envelope import Envelope
from django_q.legacy.lent import LentHousekeeper, LentRunner
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.worker import worker
from tests import functions
from tests.unit.cluster.making import make_launch


def own_worker(tasks: Any, ends: Any, timer: Any, timeout: float = -1) -> None:
    """As a copy of the worker would look."""
    assert (tasks.qsize(), tasks.empty()) == (1, False)
    for task in iter(tasks.get, "STOP"):
        timer.value = task.pop("timeout", timeout)
        ends.put(task | {"result": timer.value, "success": True, "seen": "by us"})
    assert (ends.qsize(), ends.empty(), tasks.empty()) == (1, False, True)


def own_scheduler(broker: Any = None) -> None:
    """Does nothing."""


def breaks(*_: Any) -> None:
    raise LookupError("own bug")


def silent(*_: Any) -> None:
    """Puts nothing."""


def sleeps(*_: Any) -> None:
    functions.sleep(30)


def delegates(tasks: Any, ends: Any, timer: Any, timeout: float) -> None:
    """Does something besides, and leaves the rest to ours."""
    worker(tasks, ends, timer, timeout)


def run(func: Any, target: str = "tests.functions.add", **options: Any) -> Outcome:
    envelope = Envelope.from_call(target, (20, 22), {}, options)
    with closing(LentRunner(Options(timeout=60), func)) as runner:
        return runner.execute(envelope, attempt=2)


@contextmanager
def put_in_place(**functions: Any) -> Iterator[None]:
    with mock.patch.multiple(door, **functions):
        yield


# ----------------------------------------------------------------- what is found


def test_nothing_is_replaced_as_long_as_nobody_does():
    assert find_replaced() == ({}, [])


def test_worker_and_scheduler_are_found_by_their_paths():
    with put_in_place(worker=own_worker, scheduler=own_scheduler):
        paths, warnings = find_replaced()
    assert paths == {
        "worker": f"{__name__}.own_worker",
        "scheduler": f"{__name__}.own_scheduler",
    }
    assert warnings == []
    assert find_replaced() == ({}, [])


def test_putting_the_same_function_back_is_no_replacement():
    with put_in_place(worker=worker):
        assert find_replaced() == ({}, [])


@pytest.mark.parametrize("name", ["Sentinel", "monitor", "pusher"])
def test_what_has_no_effect_is_said(name: str):
    with put_in_place(**{name: own_scheduler}):
        paths, [warning] = find_replaced()
    assert paths == {}
    start = f"django_q.cluster.{name} was replaced, which has no effect: "
    assert warning.startswith(start)


@pytest.mark.parametrize("func", [lambda *_: None, mock.Mock()])
def test_what_no_child_can_find_is_said(func: Any):
    with put_in_place(worker=func):
        paths, [warning] = find_replaced()
    assert paths == {}
    assert "a child process can't find it" in warning


@pytest.mark.django_db
def test_own_scheduler_is_called_each_second_whatever_ours_would_say():
    ours, sentinel = Line.pair()
    replaced = {"scheduler": f"{__name__}.own_scheduler"}
    launch = make_launch("housekeeper", ours, broker=Memory("lent"), replaced=replaced)
    keeper = LentHousekeeper(launch)
    keeper.setup()
    [chore] = [chore for chore in keeper.chores if chore.name == "the scheduler"]
    assert (chore.look, keeper.fire_schedules()) == (None, 1.0)
    keeper.teardown()
    keeper.control.close()
    sentinel.close()


# ------------------------------------------------------------- what a worker does


def test_it_gets_the_task_and_what_it_puts_is_the_outcome():
    outcome = run(own_worker, timeout=7)
    assert (outcome.success, outcome.result, outcome.attempt) == (True, 7, 2)
    assert outcome.envelope.extra == {"seen": "by us"}
    assert outcome.envelope.timeout == 7


def test_it_gets_the_time_limit_of_the_cluster():
    assert run(own_worker).result == 60


def test_it_may_call_ours():
    assert run(delegates).result == 42
    failed = run(delegates, "tests.functions.fail")
    assert not failed.success
    assert failed.summary.startswith("TypeError: fail() takes")


def test_its_own_error_is_a_failure_of_the_task():
    outcome = run(breaks)
    assert (outcome.success, outcome.cause) == (False, Cause.RAISED)
    assert "own bug" in outcome.result


def test_silence_is_a_failure():
    outcome = run(silent)
    assert not outcome.success
    assert "silent, put in the place of the worker" in outcome.result


def test_it_is_held_to_the_time_limit_of_the_task():
    outcome = run(sleeps, timeout=0.1)
    assert (outcome.success, outcome.cause) == (False, Cause.TIMED_OUT)
