"""Sync mode: the task runs here and now, is saved, and raises what it raises."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches

from django_q.exceptions import TaskNotFound, TaskNotSerializable, TimeoutException
from django_q.models import Failure, Task
from django_q.signals import post_execute, post_execute_in_worker, pre_execute
from django_q.tasks import aasync_task, async_chain, async_task, fetch, result
from tests.functions import log_result, words

pytestmark = pytest.mark.django_db


def run(func: Any, *args: Any, **options: Any) -> str:
    return async_task(func, *args, sync=True, **options)


def test_the_result_is_there_at_once() -> None:
    task_id = run("tests.functions.add", 1, 2, group="g", task_name="mine")
    task = fetch(task_id)
    assert task is not None
    assert (task.name, task.func, task.group) == ("mine", "tests.functions.add", "g")
    assert (task.result, task.args, task.kwargs) == (3, (1, 2), {})
    assert (task.success, task.attempt_count, task.cluster) == (True, 1, "tests")
    assert task.started <= task.stopped


def test_the_setting_makes_every_task_run_at_once(q_settings: Any) -> None:
    q_settings(sync=True)
    assert result(async_task("tests.functions.add", 1)) == 1


def test_it_needs_no_broker(q_settings: Any) -> None:
    q_settings(broker_class="no.such.Broker")
    assert result(run("tests.functions.add", 1)) == 1


def test_arguments_take_the_real_way() -> None:
    given: list[int] = [1]
    task = fetch(run("tests.functions.echo", given))
    assert task is not None
    assert task.result["args"][0] == given
    with pytest.raises(TaskNotSerializable):
        run("tests.functions.echo", threading.Lock())


def test_an_error_is_saved_and_then_raised() -> None:
    with pytest.raises(ValueError, match="on purpose"):
        run("tests.functions.fail", task_name="mine")
    failure = Failure.objects.get(name="mine")
    assert failure.result.startswith("on purpose : Traceback")


@pytest.mark.parametrize(
    ("func", "error"),
    [
        ("tests.functions.leave", SystemExit),
        ("no.such.function", TaskNotFound),
        ("tests.functions.fail_unprintably", Exception),
    ],
)
def test_whatever_is_raised_is_saved_first(
    func: str, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        run(func, task_name="mine")
    assert Failure.objects.filter(name="mine").exists()


def test_the_time_is_limited_and_the_alarm_left_as_it_was() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutException):
        run("tests.functions.sleep", 5, timeout=0.05, task_name="mine")
    assert "maximum timeout value" in Failure.objects.get(name="mine").result
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_result_that_can_not_be_stored_is_a_failure_but_no_error_of_the_caller() -> (
    None
):
    """A test that replaces a task by a mock gets a mock as its result."""
    run("tests.functions.unpicklable", task_name="mine")
    assert "can't be stored" in Failure.objects.get(name="mine").result


def test_attempts_follow_at_once(task_log: str) -> None:
    task_id = run("tests.functions.flaky", task_log, max_attempts=5, retry_delay=60)
    task = fetch(task_id)
    assert task is not None
    assert (task.result, task.attempt_count) == (3, 3)


def test_when_all_attempts_fail_the_last_error_is_raised(task_log: str) -> None:
    with pytest.raises(ValueError, match="try 2"):
        run("tests.functions.flaky", task_log, 9, max_attempts=2)
    assert Failure.objects.get().attempt_count == 2


def test_repeating_for_ever_is_once(task_log: str) -> None:
    with pytest.raises(ValueError, match="try 1"):
        run("tests.functions.flaky", task_log, ack_failure=False)
    assert Failure.objects.count() == 1


def test_a_success_that_is_not_wanted_makes_no_row() -> None:
    assert fetch(run("tests.functions.add", 1, save=False)) is None


def test_old_successes_are_pruned(q_settings: Any) -> None:
    q_settings(save_limit=2)
    for number in range(4):
        run("tests.functions.add", number)
    assert sorted(Task.objects.values_list("result", flat=True)) == [2, 3]


def test_hooks_have_run_when_it_returns(task_log: str) -> None:
    run("tests.functions.log", task_log, hook=log_result)
    assert words(task_log) == ["ran", "hook:True"]
    with pytest.raises(ValueError, match="again"):
        run("tests.functions.log_and_fail", task_log, "again", hook=log_result)
    assert words(task_log) == ["ran", "hook:True", "again", "hook:False"]


def test_the_signals_of_a_worker_come_here() -> None:
    heard: list[tuple[str, bool | None]] = []

    def receiver(signal: Any, task: dict[str, Any], **_: Any) -> None:
        names = {pre_execute: "pre", post_execute_in_worker: "worker"}
        heard.append((names.get(signal, "post"), task.get("success")))

    signals = (pre_execute, post_execute_in_worker, post_execute)
    for each in signals:
        each.connect(receiver)
    run("tests.functions.add", 1)
    for each in signals:
        each.disconnect(receiver)
    assert heard == [("pre", None), ("worker", True), ("post", True)]


def test_a_function_that_a_test_replaces_is_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("tests.functions.add", 1)
    monkeypatch.setattr("tests.functions.add", lambda *_: "replaced")
    assert result(run("tests.functions.add", 1)) == "replaced"


def test_coroutines_are_awaited() -> None:
    assert result(run("tests.functions.add_later", 1, 2)) == 3


@pytest.mark.django_db(transaction=True)
def test_from_a_coroutine() -> None:
    task_id = asyncio.run(aasync_task("tests.functions.add_later", 1, 2, sync=True))
    assert result(task_id) == 3


def test_in_another_thread_it_runs_without_limit() -> None:
    ids: list[str] = []

    def call() -> None:
        ids.append(run("tests.functions.add", 1, timeout=5, save=False))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(ids) == 1


def test_a_cached_result_is_in_the_cache() -> None:
    caches["default"].clear()
    task_id = run("tests.functions.add", 1, cached=True)
    assert fetch(task_id) is None
    assert result(task_id, cached=True) == 1


@pytest.mark.parametrize("trouble", ["nowhere"])
def test_a_row_that_can_not_be_written_does_not_fail_the_caller(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("django_q.results.write_alias", lambda: trouble)
    run("tests.functions.add", 1)
    assert "Could not save task result" in caplog.text


class TestChain:
    def test_links_run_one_after_the_other(self, task_log: str) -> None:
        links = [("tests.functions.log", (task_log, str(n))) for n in range(4)]
        async_chain(links, group="g", sync=True)
        assert words(task_log) == ["0", "1", "2", "3"]
        assert Task.objects.filter(group="g").count() == 4

    def test_a_failed_link_ends_it_with_its_error(self, task_log: str) -> None:
        fail = ("tests.functions.fail", ("broken",))
        log = ("tests.functions.log", (task_log,))
        with pytest.raises(ValueError, match="broken"):
            async_chain([log, fail, log], group="g", sync=True)
        assert words(task_log) == ["ran"]
        assert Task.objects.filter(group="g").count() == 2

    def test_unless_told_otherwise_and_then_the_error_comes_last(
        self, task_log: str
    ) -> None:
        fail = ("tests.functions.fail", ("broken",))
        log = ("tests.functions.log", (task_log,))
        with pytest.raises(ValueError, match="broken"):
            async_chain([fail, log], group="g", sync=True, stop_on_failure=False)
        assert words(task_log) == ["ran"]
        assert Task.objects.filter(group="g").count() == 2

    def test_it_goes_on_after_a_success_that_is_not_stored(self, task_log: str) -> None:
        log = ("tests.functions.log", (task_log,), {"save": False})
        async_chain([log, log, log], sync=True)
        assert words(task_log) == ["ran"] * 3

    def test_a_long_chain_needs_no_deep_stack(self, task_log: str) -> None:
        link = ("tests.functions.log", (task_log,), {"save": False})
        async_chain([link] * 300, sync=True)
        assert len(words(task_log)) == 300


def test_a_task_may_run_another_one_inline(task_log: str) -> None:
    outer = f"{__name__}.queue_inline"
    run(outer, task_log)
    assert words(task_log) == ["inner", "outer"]


def queue_inline(path: str) -> None:
    async_task("tests.functions.log", path, "inner", sync=True)
    with Path(path).open("a") as file:
        file.write("outer\n")
