"""Which keywords of async_task are options, and which are the function's.

Earlier releases had fourteen option keywords. The newer ones are options only where a
function does not take them, so that no call that worked before means something else.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_q import clock
from django_q.brokers import get_broker
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.signals import pre_execute
from django_q.task_options import CLAIMED, YIELDING, split_options
from django_q.tasks import (
    AsyncTask,
    Chain,
    Iter,
    async_chain,
    async_iter,
    async_task,
    fetch,
    fetch_group,
    result,
    result_group,
    schedule,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("memory")]

Drain = Callable[..., int]
RUN: list[Any] = []


def fetch_page(url: str, retry_delay: float = 5, *, max_attempts: int = 1) -> Any:
    """A function of a project that repeats by itself."""
    return url, retry_delay, max_attempts


def fetch_any(url: str, **options: Any) -> Any:
    return url, options


def fetch_plain(url: str) -> str:
    return url


def give_up(url: str) -> None:
    RUN.append(url)
    raise ConnectionError(url)


def by_place(retry_delay: float, /) -> float:
    return retry_delay


def waiting(queue: str) -> list[Envelope]:
    taken = get_broker(queue).dequeue(100) or []
    return [Envelope.open(delivery.package) for delivery in taken]


def test_the_option_keywords_of_the_earlier_releases() -> None:
    assert {
        *("hook", "group", "save", "sync", "cached", "ack_failure", "iter_count"),
        *("iter_cached", "chain", "broker", "cluster", "timeout"),
    } == CLAIMED


@pytest.mark.parametrize("key", sorted(CLAIMED - {"broker"}))
def test_those_never_reach_the_function_as_keywords(key: str) -> None:
    options, rest = split_options(lambda **_: None, {key: 1, "other": 2})
    assert (options, rest) == ({key: 1}, {"other": 2})


@pytest.mark.parametrize("func", [fetch_page, f"{__name__}.fetch_page"])
def test_a_parameter_of_the_function_wins_over_a_newer_option(
    func: Any, drain: Drain
) -> None:
    task_id = async_task(func, "u", retry_delay=3, max_attempts=7)
    drain()
    task = fetch(task_id)
    assert task is not None
    assert task.result == ("u", 3, 7)
    assert task.kwargs == {"retry_delay": 3, "max_attempts": 7}


def test_a_function_that_takes_any_keyword_gets_it(drain: Drain) -> None:
    task_id = async_task(fetch_any, "u", **dict.fromkeys(YIELDING, 2))
    drain()
    assert result(task_id) == ("u", dict.fromkeys(YIELDING, 2))


@pytest.mark.parametrize("func", [fetch_plain, by_place, f"{__name__}.fetch_plain"])
def test_it_is_an_option_where_the_function_could_not_take_it(
    func: Any, memory: str
) -> None:
    async_task(func, "u", retry_delay=3)
    (envelope,) = waiting(memory)
    assert (envelope.retry_delay, envelope.kwargs) == (3, {})
    assert envelope.undecided_options is None


def test_in_q_options_it_is_always_an_option(memory: str) -> None:
    async_task(fetch_page, "u", q_options={"retry_delay": 3})
    async_task(fetch_page, "u", retry_delay=9, q_options={"retry_delay": 3})
    first, second = waiting(memory)
    assert (first.retry_delay, first.kwargs) == (3, {})
    assert (second.retry_delay, second.kwargs) == (3, {"retry_delay": 9})


def test_a_value_that_no_option_can_have_is_the_functions(drain: Drain) -> None:
    task_id = async_task(fetch_page, "u", retry_delay="soon")
    drain()
    assert result(task_id) == ("u", "soon", 1)
    with pytest.raises(TypeError, match="'retry_delay' must be a number of seconds"):
        async_task(fetch_plain, "u", retry_delay="soon")


@pytest.mark.parametrize("func", [dict, "builtins.dict"])
def test_one_that_does_not_tell_what_it_takes_gets_it(func: Any, drain: Drain) -> None:
    task_id = async_task(func, max_attempts=2)
    drain()
    assert result(task_id) == {"max_attempts": 2}


class TestFunctionThatIsNotImportedHere:
    """The web process imports nothing; the worker, which does, decides."""

    MODULE = """
def page(url, retry_delay=5, max_attempts=1):
    return url, retry_delay, max_attempts

def plain(url):
    raise ConnectionError(url)
"""

    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        name = f"pages_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(self.MODULE)
        monkeypatch.syspath_prepend(tmp_path)
        return name

    def test_nothing_is_imported_by_the_call(self, module: str) -> None:
        async_task(f"{module}.page", "u", retry_delay=3)
        assert module not in sys.modules

    def test_its_parameter_wins_in_the_worker(self, module: str, drain: Drain) -> None:
        task_id = async_task(f"{module}.page", "u", retry_delay=3, max_attempts=None)
        shown: list[Any] = []

        def look(task: Any, **_: Any) -> None:
            shown.append(task)

        pre_execute.connect(look)
        drain()
        pre_execute.disconnect(look)
        assert result(task_id) == ("u", 3, None)
        (task,) = shown
        assert task["kwargs"] == {"retry_delay": 3, "max_attempts": None}
        assert not {"retry_delay", "max_attempts", "undecided_options"} & task.keys()

    def test_else_it_is_the_option(self, module: str) -> None:
        with pytest.raises(ConnectionError):
            async_task(
                f"{module}.plain",
                "u",
                max_attempts=3,
                sync=True,
                q_options={"task_name": "n"},
            )
        task = fetch("n")
        assert task is not None
        assert (task.attempt_count, task.kwargs) == (3, {})

    def test_what_can_be_no_option_goes_to_it(self, module: str, drain: Drain) -> None:
        task_id = async_task(f"{module}.page", "u", retry_delay="soon")
        drain()
        assert result(task_id) == ("u", "soon", 1)

    def test_it_holds_for_members_of_a_chain(self, module: str, drain: Drain) -> None:
        path = f"{module}.page"
        link = (path, ("u",), {"retry_delay": 3})
        group = async_chain([link, link])
        drain()
        assert list(result_group(group) or []) == [("u", 3, 1)] * 2

    def test_and_of_an_iterable(self, module: str, drain: Drain) -> None:
        iter_id = async_iter(f"{module}.page", ["u", "v"], retry_delay=3)
        drain()
        assert result(iter_id) == [("u", 3, 1), ("v", 3, 1)]

    def test_a_package_with_nonsense_is_no_trap(self) -> None:
        task = Envelope.from_call("a.b", (), {}, {}).as_dict()
        for wrong in (["kwargs"], "retry_delay", [5], {"a": 1}):
            opened = Envelope.from_dict(task | {"undecided_options": wrong})
            assert opened.undecided_options is None


class TestEverywhere:
    def test_in_a_chain(self, drain: Drain) -> None:
        group = Chain([(fetch_page, ("u",), {"max_attempts": 7})] * 2).run()
        drain()
        assert list(result_group(group) or []) == [("u", 5, 7)] * 2

    def test_when_a_chain_stops_is_never_the_functions_business(
        self, drain: Drain
    ) -> None:
        group = async_chain(
            [(fetch_any, ("u",)), (give_up, ("v",)), (fetch_any, ("w",))],
            stop_on_failure=False,
        )
        drain()
        results = [task.result for task in fetch_group(group, failures=False) or []]
        assert sorted(results) == [("u", {}), ("w", {})]

    def test_in_an_iterable(self, drain: Drain) -> None:
        iterable = Iter(fetch_page, ["u"], {"max_attempts": 7})
        iterable.run()
        drain()
        assert iterable.result() == [("u", 5, 7)]

    def test_in_a_task_as_an_object(self, drain: Drain) -> None:
        task = AsyncTask(fetch_page, "u", max_attempts=7)
        task.run()
        drain()
        assert task.result() == ("u", 5, 7)

    def test_for_a_callable_object(self) -> None:
        class Page:
            def __call__(self, url: str, retry_delay: float) -> None:
                """Never called."""

        assert split_options(Page(), {"retry_delay": 1}) == ({}, {"retry_delay": 1})
        assert split_options(Page(), {"max_attempts": 1}) == ({"max_attempts": 1}, {})

    @pytest.mark.django_db(transaction=True)
    def test_in_a_schedule(self, memory: str) -> None:
        schedule(f"{__name__}.fetch_page", "u", retry_delay="soon", cluster=memory)
        schedule(f"{__name__}.fetch_plain", "u", retry_delay=3, cluster=memory)
        scheduler = Scheduler(get_options(), get_broker(), "Process-1")
        assert scheduler.enqueue_due(clock.now()) == 2
        page, plain = waiting(memory)
        assert (page.kwargs, page.retry_delay) == ({"retry_delay": "soon"}, None)
        assert (plain.kwargs, plain.retry_delay) == ({}, 3)


def test_in_debug_the_log_says_that_it_went_to_the_function(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.DEBUG = True
    with caplog.at_level(logging.WARNING, "django-q"):
        async_task(fetch_page, "u", retry_delay=3)
        assert caplog.text == ""
        async_task(fetch_any, "u", max_attempts=3)
    assert "takes any keyword, so 'max_attempts' goes to it" in caplog.text
    assert "q_options={'max_attempts': …}" in caplog.text
