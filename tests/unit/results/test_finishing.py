"""Once a task is saved: its hook, Django's post_save, post_execute; nothing escapes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.core.cache import caches
from django.db.models.signals import post_save

from django_q.execution import Runner
from django_q.models import Task, call_hook
from django_q.options import Options
from django_q.results import conclude, finish, needs_finish, open_cache
from django_q.signals import post_execute
from tests.functions import words
from tests.unit.results.making import OPTIONS, ended
from tests.unit.results.test_result_cache import ITER_ID, part

HOOKED: list[Task] = []


def remember(task: Task) -> None:
    HOOKED.append(task)


def leave(_task: Task) -> None:
    raise SystemExit("gone")


def hang(_task: Task) -> None:
    time.sleep(30)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    HOOKED.clear()
    caches["default"].clear()
    yield
    caches["default"].clear()


@pytest.fixture
def listen() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    receivers: list[tuple[Any, Any]] = []

    def listen(signal: Any, **how: Any) -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = []

        def receiver(**details: Any) -> None:
            heard.append(details)

        signal.connect(receiver, weak=False, **how)
        receivers.append((signal, partial(signal.disconnect, receiver, **how)))
        return heard

    yield listen
    for _, disconnect in receivers:
        disconnect()


HOOK = f"{__name__}.remember"


class TestHook:
    def test_it_is_called_with_the_task(self) -> None:
        outcome = ended({"a": 1}, hook=HOOK, group="g", kwargs={"x": 1}, attempt=2)
        assert needs_finish(outcome)
        finish(outcome, OPTIONS)
        (task,) = HOOKED
        assert (task.id, task.name) == (outcome.envelope.id, outcome.envelope.name)
        assert (task.result, task.success, task.group) == ({"a": 1}, True, "g")
        assert (task.args, task.kwargs) == ((1, 2), {"x": 1})
        assert (task.func, task.attempt_count) == ("tests.functions.add", 2)
        assert task.stopped == outcome.stopped

    def test_it_may_be_a_callable(self) -> None:
        finish(ended(hook=remember), OPTIONS)
        assert len(HOOKED) == 1

    @pytest.mark.parametrize(
        "options", [{"cached": True}, {"save": False}, {"success": False}]
    )
    def test_it_is_called_wherever_the_result_is_and_whatever_it_is(
        self, options: dict[str, Any]
    ) -> None:
        finish(ended(hook=HOOK, **options), OPTIONS)
        assert len(HOOKED) == 1

    def test_whoever_disconnected_it_keeps_it_disconnected(self) -> None:
        assert post_save.disconnect(call_hook, sender=Task)
        try:
            finish(ended(hook=HOOK), OPTIONS)
        finally:
            post_save.connect(call_hook, sender=Task)
        assert HOOKED == []

    @pytest.mark.parametrize(
        ("hook", "text"),
        [
            ("no.such.hook", "malformed return hook 'no.such.hook' for [mine]"),
            ("tests.functions.broken_hook", "because hook of "),
            (f"{__name__}.leave", "failed on [mine] because SystemExit: gone"),
        ],
    )
    def test_one_that_fails_is_told_in_the_log(
        self, hook: str, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        finish(ended(hook=hook, task_name="mine"), OPTIONS)
        assert text in caplog.text
        assert hook in caplog.text

    def test_one_that_hangs_has_the_tasks_time_limit(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        runner = Runner(Options())
        begun = time.monotonic()
        limit = partial(runner.call_within, 0.05)
        finish(ended(hook=f"{__name__}.hang"), OPTIONS, within=limit)
        assert time.monotonic() - begun < 1
        assert "exceeded maximum timeout value (0.05 seconds)" in caplog.text


class TestSignals:
    def test_nobody_listens_and_nothing_is_to_do(self, task_log: str) -> None:
        assert not needs_finish(ended())
        finish(ended(), OPTIONS)
        assert words(task_log) == []

    def test_whoever_listens_to_the_table_hears_of_saved_tasks(
        self, listen: Any
    ) -> None:
        heard = listen(post_save, sender=Task)
        assert needs_finish(ended())
        finish(ended(5), OPTIONS)
        finish(ended("no", success=False, attempt=3), OPTIONS)
        assert [h["instance"].result for h in heard] == [5, "no"]
        assert [h["created"] for h in heard] == [True, False]
        assert heard[0]["raw"] is False
        assert heard[0]["using"] == "default"

    def test_and_not_of_those_that_have_no_row(self, listen: Any) -> None:
        heard = listen(post_save)
        finish(ended(5, save=False), OPTIONS)
        finish(ended(5, cached=True), OPTIONS)
        finish(ended(5), Options(save_limit=-1))
        assert heard == []

    def test_post_execute_has_the_task_and_its_end(self, listen: Any) -> None:
        heard = listen(post_execute)
        outcome = ended(5)
        assert needs_finish(outcome)
        finish(outcome, OPTIONS)
        (details,) = heard
        assert details["sender"] == "django_q"
        assert details["task"] == outcome.as_dict()

    def test_post_execute_has_each_run_and_the_hook_the_last_one(
        self, listen: Any
    ) -> None:
        heard = listen(post_execute)
        outcome = ended("no", success=False, hook=HOOK)
        assert needs_finish(outcome, is_last=False)
        finish(outcome, OPTIONS, is_last=False)
        assert (len(heard), HOOKED) == (1, [])
        finish(outcome, OPTIONS)
        assert (len(heard), len(HOOKED)) == (2, 1)

    def test_run_before_the_last_needs_nothing_without_receivers(self) -> None:
        assert not needs_finish(ended("no", success=False, hook=HOOK), is_last=False)

    def test_the_receipt_of_the_broker_is_not_in_it(self, listen: Any) -> None:
        heard = listen(post_execute)
        outcome = ended(5)
        outcome.envelope.extra["ack_id"] = "receipt"
        finish(outcome, OPTIONS)
        assert "ack_id" not in heard[0]["task"]

    def test_a_receiver_that_fails_is_told_in_the_log(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def stumble(**_: Any) -> None:
            raise SystemExit("oh")

        post_execute.connect(stumble)
        try:
            finish(ended(task_name="mine"), OPTIONS)
        finally:
            post_execute.disconnect(stumble)
        text = "a receiver of post_execute failed on [mine] because SystemExit: oh"
        assert text in caplog.text


def test_the_parts_of_an_iterable_go_when_the_whole_is_saved(listen: Any) -> None:
    heard = listen(post_execute)
    open_cache(OPTIONS).keep_arguments(ITER_ID, [1])
    outcome, _ = conclude(part(0, 1, 9, iter_hook=HOOK), OPTIONS)
    assert caches["default"].has_key(f"tests:{ITER_ID}:0.0")
    assert needs_finish(outcome)
    finish(outcome, OPTIONS)
    assert not caches["default"].has_key(f"tests:{ITER_ID}:0.0")
    assert not caches["default"].has_key(f"tests:{ITER_ID}:collator")
    assert open_cache(OPTIONS).find_arguments(ITER_ID) is None
    assert [task.result for task in HOOKED] == [[9]]
    assert [details["task"]["result"] for details in heard] == [9, [9]]
