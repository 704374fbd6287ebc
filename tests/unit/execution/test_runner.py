"""Whatever a task does, there is one outcome, and the runner goes on."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.dispatch import Signal

from django_q import clock
from django_q.envelope import Envelope
from django_q.execution import Runner
from django_q.execution.failures import LONGEST_TEXT
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.signals import post_execute_in_worker, pre_execute
from tests import functions


@pytest.fixture
def runner() -> Iterator[Runner]:
    made = Runner(Options(timeout=20))
    yield made
    made.close()


def envelope(func: Any, *args: Any, **options: Any) -> Envelope:
    return Envelope.from_call(func, args, {}, options)


def run(runner: Runner, func: Any, *args: Any, **options: Any) -> Outcome:
    return runner.execute(envelope(func, *args, **options))


def test_a_success(runner: Runner) -> None:
    task = envelope("tests.functions.add", 1, 2)
    ended = runner.execute(task, attempt=3)
    assert ended.envelope is task
    assert (ended.success, ended.result, ended.cause) == (True, 3, Cause.RETURNED)
    assert (ended.attempt, ended.error, ended.summary) == (3, None, "")
    assert 0 <= ended.ran < 1
    assert clock.now() - ended.stopped < timedelta(seconds=5)


def test_keywords_reach_the_function(runner: Runner) -> None:
    task = Envelope.from_call(functions.echo, (1,), {"group": "g"}, {})
    assert runner.execute(task).result == {"args": (1,), "kwargs": {"group": "g"}}


def test_a_callable_is_called(runner: Runner) -> None:
    assert run(runner, functions.add, 1).result == 1
    assert run(runner, "collections.OrderedDict").result == {}


def test_a_failure_is_text_and_traceback_of_the_task_alone(runner: Runner) -> None:
    ended = run(runner, "tests.functions.fail", "no such order")
    assert (ended.success, ended.cause) == (False, Cause.RAISED)
    assert ended.result.startswith("no such order : Traceback (most recent call last)")
    assert 'functions.py"' in ended.result
    assert "django_q" not in ended.result
    assert ended.summary == "ValueError: no such order"
    assert isinstance(ended.error, ValueError)


def deep(level: int = 0) -> int:
    return deep(level + 1)


def interrupt() -> None:
    raise KeyboardInterrupt


def cancelled() -> None:
    raise asyncio.CancelledError


def hungry() -> None:
    raise MemoryError


def escape() -> None:
    raise ValueError("first\nsecond \x1b[31m red")


class Secretive(Exception):
    """Its class can't even be looked at."""

    __notes__ = 5  # type: ignore[assignment]

    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise SystemExit(2)


def be_secretive() -> None:
    raise Secretive("hidden")


class Faceless(Exception):
    """isinstance() asks it what it is, and gets no answer."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise SystemExit(3)


def be_faceless() -> None:
    raise Faceless("hidden")


def return_faceless() -> Any:
    return Faceless()


class Nasty(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


def be_nasty() -> None:
    raise Nasty


@pytest.mark.parametrize(
    ("func", "summary"),
    [
        ("tests.functions.leave", "SystemExit: 0"),
        (interrupt, "KeyboardInterrupt"),
        (cancelled, "CancelledError"),
        (hungry, "MemoryError"),
        (deep, "RecursionError: maximum recursion depth exceeded"),
        (escape, "ValueError: first"),
        (be_secretive, "Secretive: hidden"),
        (be_faceless, "Faceless: hidden"),
        (return_faceless, "SystemExit: 3"),
        (be_nasty, f"Nasty: <{__name__}.Nasty without text>"),
        (
            "tests.functions.fail_unprintably",
            "Unprintable: <tests.functions.Unprintable without text>",
        ),
        ("tests.functions.fail_unpicklably", "Unpicklable: cannot be pickled"),
    ],
)
def test_whatever_is_raised_is_a_failure(
    runner: Runner, func: Any, summary: str
) -> None:
    ended = run(runner, func)
    assert (ended.success, ended.cause) == (False, Cause.RAISED)
    assert ended.summary == summary
    assert " : " in ended.result
    assert pickle.loads(pickle.dumps(ended.result)) == ended.result
    assert run(runner, "tests.functions.add", 1).result == 1


def test_a_megabyte_of_message_is_cut(runner: Runner) -> None:
    ended = run(runner, functions.fail, "x" * 1_000_000)
    assert len(ended.result) < LONGEST_TEXT + 100
    assert "characters left out" in ended.result
    assert ended.result.endswith("xxx\n")
    assert len(ended.summary) <= 200


@pytest.mark.parametrize(
    ("func", "reason"),
    [
        ("tests.functions.ad", "Function tests.functions.ad is not defined: "),
        ("no.such.function", "No module named 'no'"),
        ("os.system('x')", "is not the path of a function"),
        ("math.sqrt", "expected at least 1 argument"),
    ],
)
def test_a_function_that_can_not_be_called(
    runner: Runner, func: Any, reason: str
) -> None:
    ended = run(runner, func)
    assert not ended.success
    if func != "math.sqrt":
        assert reason in ended.result
        assert ended.summary.startswith("TaskNotFound: ")


def test_an_error_while_importing_comes_with_its_traceback(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn_module.py").write_text("one = 1\nboom = one / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    ended = run(runner, "torn_module.send")
    assert "ZeroDivisionError: division by zero" in ended.result
    assert 'torn_module.py", line 2' in ended.result


def test_a_function_newer_than_its_worker_is_told_to_restart(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "growing_module.py"
    module.write_text("def send(): return 1\n")
    os.utime(module, (0, 0))
    monkeypatch.syspath_prepend(tmp_path)
    assert run(runner, "growing_module.send").result == 1
    assert "Restart the cluster" not in run(runner, "growing_module.more").result
    later = time.time() + 100  # noqa: TID251 - files know no other clock
    os.utime(module, (later, later))
    ended = run(runner, "growing_module.more")
    assert "before your code changed at" in ended.result
    assert "Restart the cluster." in ended.result
    module.unlink()
    assert "Restart the cluster" not in run(runner, "growing_module.more").result
    del sys.modules["growing_module"]


class TestTimeout:
    def test_the_clusters_limit(self) -> None:
        runner = Runner(Options(timeout=0.05))
        ended = run(runner, functions.sleep, 5)
        assert (ended.success, ended.cause) == (False, Cause.TIMED_OUT)
        assert ended.result.startswith(
            "Task exceeded maximum timeout value (0.05 seconds)"
        )
        assert 0.05 <= ended.ran < 1

    def test_the_tasks_own_limit_wins(self, runner: Runner) -> None:
        assert run(runner, functions.sleep, 5, timeout=0.05).cause is Cause.TIMED_OUT

    def test_nought_means_no_limit(self) -> None:
        runner = Runner(Options(timeout=0.02))
        assert run(runner, functions.sleep, 0.1, timeout=0).success
        assert runner.limit_of(envelope("a.b", timeout=-1)) is None
        assert runner.limit_of(envelope("a.b")) == 0.02

    def test_a_limit_that_can_not_be_is_a_failure(self, runner: Runner) -> None:
        task = envelope(functions.add)
        object.__setattr__(task, "timeout", "5")
        assert runner.execute(task).summary.startswith("TypeError")

    def test_importing_counts(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "slow_import.py").write_text("import time\ntime.sleep(5)\n")
        monkeypatch.syspath_prepend(tmp_path)
        ended = run(Runner(Options(timeout=0.05)), "slow_import.send")
        assert ended.cause is Cause.TIMED_OUT


async def wait_for_ever(path: str) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        functions.log(path, "tidied")


async def spin_in_the_loop() -> None:
    while True:
        pass


async def fail_later() -> None:
    await asyncio.sleep(0)
    raise ValueError("later")


async def leave_something_behind(path: str) -> str:
    asyncio.get_running_loop().create_task(wait_for_ever(path))
    await asyncio.sleep(0)
    return "done"


async def running_loop() -> int:
    return id(asyncio.get_running_loop())


async def count_tasks() -> int:
    return await sync_count()


async def sync_count() -> int:
    from django_q.models import Task  # noqa: PLC0415

    return await Task.objects.acount()


class TestCoroutines:
    def test_they_are_awaited(self, runner: Runner) -> None:
        assert run(runner, "tests.functions.add_later", 1, 2).result == 3
        assert run(runner, lambda: functions.add_later(3)).result == 3

    def test_their_errors_are_failures(self, runner: Runner) -> None:
        ended = run(runner, fail_later)
        assert ended.summary == "ValueError: later"

    def test_all_run_on_one_loop(self, runner: Runner) -> None:
        first = run(runner, running_loop).result
        assert run(runner, fail_later).success is False
        assert run(runner, running_loop).result == first

    @pytest.mark.parametrize("func", [wait_for_ever, spin_in_the_loop])
    def test_their_time_is_limited(
        self, runner: Runner, task_log: str, func: Any
    ) -> None:
        args = [task_log] if func is wait_for_ever else []
        ended = run(runner, func, *args, timeout=0.05)
        assert ended.cause is Cause.TIMED_OUT
        assert ended.ran < 1
        assert run(runner, "tests.functions.add_later", 1, 2).result == 3
        if func is wait_for_ever:
            assert functions.words(task_log) == ["tidied"]

    def test_what_they_leave_running_ends_with_them(
        self, runner: Runner, task_log: str
    ) -> None:
        assert run(runner, leave_something_behind, task_log).result == "done"
        assert functions.words(task_log) == ["tidied"]

    @pytest.mark.django_db
    def test_inline_they_see_what_the_callers_transaction_wrote(self) -> None:
        from django_q.models import Task  # noqa: PLC0415

        now = clock.now()
        Task.objects.create(id="a" * 32, name="a", func="a.b", started=now, stopped=now)
        guest = Runner(Options(), owns_process=False)
        assert run(guest, count_tasks, sync=True).result == 1


class TestSignals:
    @pytest.fixture
    def connect(self) -> Iterator[Any]:
        connected: list[tuple[Signal, Any]] = []

        def connect(signal: Signal, receiver: Any) -> None:
            signal.connect(receiver, weak=False)
            connected.append((signal, receiver))

        yield connect
        for signal, receiver in connected:
            signal.disconnect(receiver)

    def test_receivers_hear_of_start_and_end(
        self, runner: Runner, connect: Any
    ) -> None:
        heard: list[tuple[str, Any, dict[str, Any]]] = []

        def before(sender: Any, func: Any, task: Any, **_: Any) -> None:
            heard.append((sender, func, dict(task)))

        connect(pre_execute, before)
        connect(post_execute_in_worker, before)
        task = envelope("tests.functions.add", 1, 2)
        ended = runner.execute(task)
        assert heard == [
            ("django_q", functions.add, task.as_dict()),
            ("django_q", functions.add, ended.as_dict()),
        ]

    def test_a_function_that_is_not_found_is_announced_as_none(
        self, runner: Runner, connect: Any
    ) -> None:
        heard: list[Any] = []
        connect(pre_execute, lambda func, **_: heard.append(func))
        connect(post_execute_in_worker, lambda func, **_: heard.append(func))
        assert not run(runner, "no.such.function").success
        assert heard == [None, None]

    def test_receivers_may_change_arguments_and_add_keys(
        self, runner: Runner, connect: Any
    ) -> None:
        def amend(task: dict[str, Any], **_: Any) -> None:
            task["args"] = (10, 20)
            task["tenant"] = 7

        connect(pre_execute, amend)
        ended = run(runner, "tests.functions.add", 1, 2)
        assert ended.result == 30
        assert ended.envelope.extra == {"tenant": 7}

    @pytest.mark.parametrize("error", [ValueError, SystemExit])
    def test_a_receiver_that_raises_before_makes_a_failure(
        self, runner: Runner, connect: Any, error: type[BaseException]
    ) -> None:
        def refuse(**_: Any) -> None:
            raise error("no")

        connect(pre_execute, refuse)
        ended = run(runner, "tests.functions.add", 1)
        assert ended.summary == f"{error.__name__}: no"

    @pytest.mark.parametrize("error", [ValueError, SystemExit])
    def test_a_receiver_that_raises_afterwards_is_for_the_log(
        self,
        runner: Runner,
        connect: Any,
        error: type[BaseException],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def stumble(**_: Any) -> None:
            raise error("no")

        connect(post_execute_in_worker, stumble)
        ended = run(runner, "tests.functions.add", 1, task_name="mine")
        assert ended.success
        assert "a receiver of post_execute_in_worker failed on [mine]" in caplog.text


def test_a_task_whose_worker_died(runner: Runner) -> None:
    task = envelope("a.b")
    text = "Its worker was killed by signal 9.\nUsually the memory ran out."
    ended = runner.lost(task, Cause.LOST, text, attempt=2)
    assert (ended.success, ended.cause, ended.attempt) == (False, Cause.LOST, 2)
    assert ended.result == text
    assert ended.summary == "Its worker was killed by signal 9."


def leave_transaction_open() -> None:
    transaction.atomic().__enter__()


def is_in_transaction() -> bool:
    return connection.in_atomic_block


@pytest.mark.django_db(transaction=True)
class TestConnections:
    def test_a_transaction_left_open_is_rolled_back(
        self, runner: Runner, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert run(runner, leave_transaction_open).success
        assert "left a transaction on database 'default' open" in caplog.text
        assert run(runner, is_in_transaction).result is False

    def test_the_connection_that_follows_is_looked_after_as_well(
        self, runner: Runner, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            assert run(runner, leave_transaction_open).success
        assert caplog.text.count("left a transaction on database 'default' open") == 2
        assert run(runner, is_in_transaction).result is False

    def test_what_follows_an_abandoned_one_does_not_grow_too_old(
        self, runner: Runner
    ) -> None:
        assert run(runner, leave_transaction_open).success
        connection.ensure_connection()
        before, connection.close_at = connection.connection, 0.0
        assert run(runner, "django.db.connection.ensure_connection").success
        assert connection.connection is not before

    def test_connections_of_other_threads_are_left_alone(self, runner: Runner) -> None:
        connection.ensure_connection()
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(run, runner, leave_transaction_open).result().success
            assert not is_in_transaction()
            assert not thread.submit(run, runner, is_in_transaction).result().result
            thread.submit(connections.close_all).result()

    def test_a_transaction_around_the_worker_is_left_alone(
        self, runner: Runner, caplog: pytest.LogCaptureFixture
    ) -> None:
        with transaction.atomic():
            assert run(runner, is_in_transaction).result is True
            assert is_in_transaction()
        assert caplog.text == ""

    def test_a_broken_connection_is_closed_and_made_anew(self, runner: Runner) -> None:
        assert run(runner, "django.db.connection.ensure_connection").success
        connection.ensure_connection()
        connection.errors_occurred = True
        connection.connection.close()
        assert run(runner, "django.db.connection.ensure_connection").success
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    def test_connections_are_kept_as_long_as_the_settings_say(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for seconds, is_kept in ((600, True), (0, False)):
            monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", seconds)
            connection.close()
            assert run(runner, "django.db.connection.ensure_connection").success
            assert (connection.connection is not None) is is_kept

    def test_a_task_in_sync_mode_leaves_them_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
        connection.close()
        inline = Runner(Options(), owns_process=False)
        run(inline, "django.db.connection.ensure_connection", sync=True)
        assert connection.connection is not None
