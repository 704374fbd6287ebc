"""Atomic tasks: what a run leaves behind, on the database of this run."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import InterfaceError, connection, connections, transaction
from django.db.models import F

from django_q import conf
from django_q.brokers import Broker
from django_q.brokers.memory import Memory
from django_q.brokers.orm import ORM
from django_q.cluster import atomic_runs
from django_q.cluster.atomic_runs import AtomicRuns, NotBegun, NotOurs
from django_q.cluster.frames import Kind, Report, encode_report
from django_q.cluster.lines import Line
from django_q.cluster.recovery import is_locked
from django_q.cluster.trouble import Trouble
from django_q.envelope import Envelope
from django_q.exceptions import NotAtomic
from django_q.execution import Runner
from django_q.models import Attempt, OrmQ, Task
from django_q.outcome import Outcome
from django_q.tasks import AsyncTask, Chain, async_task, result
from tests.integration.test_refused_results import WORKER
from tests.integration.test_refused_results import Bench as MonitorBench
from tests.unit.cluster.making import make_launch, make_record

pytestmark = pytest.mark.django_db(transaction=True)

on_servers = pytest.mark.skipif(
    connection.vendor == "sqlite", reason="SQLite locks the whole database"
)
CLUSTER = "c" * 32
LONG = 100.0
HALVES: list[int] = []
"""Of connections, the server's."""


def here(name: str) -> str:
    return f"{__name__}.{name}"


# -- what is run


def add_group(name: str = "made") -> str:
    Group.objects.create(name=name)
    return name


def add_and_fail() -> None:
    add_group()
    raise ValueError("on purpose")


def add_and_give_a_lock() -> Any:
    add_group()
    return threading.Lock()


def add_and_point_nowhere() -> None:
    add_group()
    User.groups.through.objects.create(user_id=10**6, group_id=10**6)


def add_and_queue() -> None:
    add_group()
    async_task(here("add_group"), "followed")


def queue_and_fail() -> None:
    add_and_queue()
    raise ValueError("on purpose")


def add_twice_and_swallow() -> None:
    Group.objects.create(pk=1, name="one")
    with suppress(Exception):
        Group(pk=1, name="another").save(force_insert=True)


def add_and_close() -> None:
    add_group()
    connection.close()


def add_and_lose_the_server() -> None:
    """Nothing comes through any more; the server does not know, and keeps its locks."""
    add_group()
    line = connection.connection.fileno()
    HALVES.append(os.dup(line))
    ours, theirs = socket.socketpair()
    os.dup2(ours.fileno(), line)
    ours.close()
    theirs.close()
    add_group("lost")


def add_in_blocks() -> None:
    with transaction.atomic():
        add_group("kept")
    try:
        with transaction.atomic():
            add_and_fail()
    except ValueError:
        add_group("after")


def add_durably() -> None:
    with transaction.atomic(durable=True):
        add_group()


def add_and_let_follow() -> None:
    add_group()
    transaction.on_commit(refuse)


def refuse() -> None:
    raise ValueError("after the commit")


def add_and_sleep() -> None:
    add_group()
    time.sleep(LONG)


async def add_later() -> None:
    raise AssertionError("it must not begin")


def take_atomic(atomic: bool = False) -> bool:
    return atomic


# -- the bench


class Bench:
    """What a worker has for its atomic tasks, and a queue."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        ours, theirs = Line.pair()
        self.lines = [Line(ours), Line(theirs)]
        options = conf.get_options()
        self.runner = Runner(options)
        launch = make_launch("worker", ours, options=options, broker=broker)
        self.runs = AtomicRuns(launch, Trouble(longest=1.0))
        self.begun = 0

    def take(self, name: str, *args: Any, **options: Any) -> tuple[Envelope, str]:
        """A task that this cluster has fetched."""
        given = {"atomic": True, "cluster": "things", **options}
        envelope = Envelope.from_call(here(name), args, {}, given)
        self.broker.enqueue(envelope.seal(), task_id=envelope.id)
        self.broker.enlist(CLUSTER, 30)
        (delivery,) = self.broker.dequeue(count=1) or []
        return envelope, str(delivery.receipt)

    def run(self, envelope: Envelope, receipt: str) -> Outcome:
        def frame(perform: Callable[[], Outcome]) -> Outcome:
            return self.runs.run(receipt, self.begin, perform)

        return self.runner.execute(envelope, frame=frame)

    def begin(self) -> None:
        self.begun += 1

    def execute(self, name: str, *args: Any, **options: Any) -> Outcome:
        return self.run(*self.take(name, *args, **options))

    def close(self) -> None:
        self.runner.close()
        for line in self.lines:
            line.close()
        self.broker.close()


@pytest.fixture
def bench(q_settings: Any) -> Iterator[Bench]:
    q_settings(poll=0.02, cluster_name="things")
    bench = Bench(ORM("things"))
    yield bench
    bench.close()


def groups() -> set[str]:
    return set(Group.objects.values_list("name", flat=True))


def nothing_happened() -> bool:
    return groups() == set() and not Task.objects.exists() and OrmQ.objects.count() == 1


@contextmanager
def in_other_thread(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """While somebody does something on a connection of his own, until he may end."""
    ready, end = threading.Event(), threading.Event()

    def run() -> None:
        with transaction.atomic():
            work(ready)
            ready.set()
            end.wait(10)
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        end.set()
        thread.join()


def in_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        found.append(work())
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert found, "it waits"
    return found[0]


# -- all or nothing


def test_effect_result_and_end_come_together(bench: Bench) -> None:
    outcome = bench.execute("add_group", "one")
    assert (outcome.success, bench.begun) == (True, 1)
    assert groups() == {"one"}
    assert Task.objects.get().result == "one"
    assert not OrmQ.objects.exists()
    settled = bench.runs.take_settled(outcome)
    assert settled is not None
    assert bench.runs.take_settled(outcome) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("add_and_fail", "on purpose"),
        ("add_and_give_a_lock", "can't be stored"),
        ("add_and_point_nowhere", ""),
        ("add_twice_and_swallow", "transaction"),
        ("add_and_close", ""),
        ("queue_and_fail", "on purpose"),
        ("add_durably", "durable"),
        ("add_later", "Coroutines can't run in a transaction"),
        ("no_such_function", "no_such_function"),
    ],
)
def test_nothing_has_happened_after(bench: Bench, name: str, words: str) -> None:
    outcome = bench.execute(name)
    assert not outcome.success
    assert words in outcome.result
    assert nothing_happened()
    assert bench.runs.take_settled(outcome) is None


def test_what_takes_too_long_is_rolled_back_and_unlocked(bench: Bench) -> None:
    envelope, receipt = bench.take("add_and_sleep", timeout=0.1)
    outcome = bench.run(envelope, receipt)
    assert "exceeded" in outcome.summary
    assert nothing_happened()
    assert bench.broker.renew([receipt]) == {receipt}


def test_blocks_inside_are_savepoints(bench: Bench) -> None:
    assert bench.execute("add_in_blocks").success
    assert groups() == {"kept", "after"}


def test_success_that_is_not_kept_has_no_row(bench: Bench) -> None:
    assert bench.execute("add_group", save=False).success
    assert (groups(), Task.objects.count()) == ({"made"}, 0)
    assert not OrmQ.objects.exists()


def test_attempts_are_noted_with_it(bench: Bench) -> None:
    envelope, receipt = bench.take("add_group")

    def frame(perform: Callable[[], Outcome]) -> Outcome:
        return bench.runs.run(receipt, bench.begin, perform)

    assert bench.runner.execute(envelope, attempt=2, frame=frame).success
    assert Attempt.objects.get().number == 2


def test_next_link_and_what_it_queued_come_with_it(bench: Bench) -> None:
    chain: list[Any] = [(here("add_group"), ("next",), {})]
    assert bench.execute("add_and_queue", chain=chain).success
    first, second = (Envelope.open(row.payload) for row in OrmQ.objects.order_by("id"))
    assert (first.args, first.atomic) == (("followed",), None)
    assert (second.args, second.atomic) == (("next",), True)


# -- the lock


def test_package_that_is_gone_is_not_run(bench: Bench) -> None:
    envelope, receipt = bench.take("add_group")
    OrmQ.objects.all().delete()
    with pytest.raises(NotOurs):
        bench.run(envelope, receipt)
    assert (groups(), bench.begun) == (set(), 0)


def test_package_of_another_delivery_is_not_run(bench: Bench) -> None:
    envelope, receipt = bench.take("add_group")
    bench.broker.redeliver(receipt)
    with pytest.raises(NotOurs):
        bench.run(envelope, receipt)
    assert groups() == set()


@on_servers
def test_package_that_others_have_locked_is_given_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_runs, "PAUSES", (0.01,))
    envelope, receipt = bench.take("add_group")

    def lock(_ready: threading.Event) -> None:
        list(OrmQ.objects.select_for_update())

    with in_other_thread(lock):
        with pytest.raises(NotBegun):
            bench.run(envelope, receipt)
        with pytest.raises(NotBegun):
            bench.runs.wait_for(receipt)
        assert is_locked(bench.broker, receipt)
    assert not is_locked(bench.broker, receipt)
    bench.runs.wait_for(receipt)
    assert bench.run(envelope, receipt).success


@on_servers
def test_nobody_waits_for_the_lock_and_nobody_takes_what_it_holds(
    bench: Bench,
) -> None:
    envelope, receipt = bench.take("add_group")
    OrmQ.objects.update(lock=F("lock") - timedelta(hours=1))
    seen: dict[str, Any] = {}

    def frame(perform: Callable[[], Outcome]) -> Outcome:
        def watched() -> Outcome:
            seen["renewed"] = in_thread(lambda: bench.broker.renew([receipt]))
            seen["freed"] = in_thread(rescue_as_another)
            return perform()

        return bench.runs.run(receipt, bench.begin, watched)

    assert bench.runner.execute(envelope, frame=frame).success
    assert seen == {"renewed": {receipt}, "freed": set()}


def rescue_as_another() -> set[int]:
    from django_q.brokers.tables import open_table  # noqa: PLC0415

    table = open_table(connection, "things", "d" * 32)
    lapsed = table.lapsed()
    ids = [row for row, *_ in table.find_held(lapsed, 10)]
    assert ids
    return table.free_held(ids, lapsed, None)


def test_lapsed_lease_that_nobody_has_locked_is_rescued(bench: Bench) -> None:
    bench.take("add_group")
    OrmQ.objects.update(lock=F("lock") - timedelta(hours=1))
    assert rescue_as_another() == {OrmQ.objects.get().pk}


# -- the commit


def lose_the_answer(
    monkeypatch: pytest.MonkeyPatch, *, after: Callable[[], None]
) -> None:
    """The connection breaks at the next COMMIT."""

    def commit() -> None:
        monkeypatch.undo()
        after()
        connection.connection.close()
        connection.connection = None
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(connection, "_commit", commit)


def commit_past_django() -> None:
    connection.connection.commit()


def test_commit_whose_answer_is_lost_counts_if_the_package_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope, receipt = bench.take("add_group")
    lose_the_answer(monkeypatch, after=commit_past_django)
    outcome = bench.run(envelope, receipt)
    assert outcome.success
    assert bench.runs.take_settled(outcome) is not None
    assert groups() == {"made"}


def test_commit_whose_answer_is_lost_has_failed_if_the_package_is_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope, receipt = bench.take("add_group")
    lose_the_answer(monkeypatch, after=lambda: None)
    outcome = bench.run(envelope, receipt)
    assert not outcome.success
    assert "connection already closed" in outcome.result
    assert nothing_happened()


def test_commit_whose_answer_is_lost_is_not_ours_if_others_have_the_package(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope, receipt = bench.take("add_group")
    others = {"deliveries": F("deliveries") + 1, "holder": "d" * 32}

    def undo_and_give_to_others() -> None:
        connection.connection.close()
        in_thread(lambda: OrmQ.objects.update(**others))

    lose_the_answer(monkeypatch, after=undo_and_give_to_others)
    with pytest.raises(NotOurs):
        bench.run(envelope, receipt)
    assert nothing_happened()


@on_servers
def test_failure_is_not_told_while_the_server_knows_nothing_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever records it would wait, and the results of all others with him."""
    monkeypatch.setattr(atomic_runs, "PAUSES", (0.01,))
    envelope, receipt = bench.take("add_and_lose_the_server")
    try:
        with pytest.raises(NotBegun):
            bench.run(envelope, receipt)
        assert bench.broker.renew([receipt]) == {receipt}
    finally:
        os.close(HALVES.pop())
    monkeypatch.undo()
    bench.runs.wait_for(receipt)
    assert bench.broker.acknowledge(receipt)
    assert groups() == set()


def test_what_fails_after_the_commit_harms_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = bench.execute("add_and_let_follow")
    assert outcome.success
    assert groups() == {"made"}
    assert Task.objects.get().success
    assert "what was to follow the commit failed: after the commit" in caplog.text


def test_long_transaction_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.execute("add_group", "short")
    assert "keep atomic tasks short" not in caplog.text
    monkeypatch.setattr(atomic_runs, "LONG", 0.0)
    bench.execute("add_group", "long")
    assert "was one transaction of 0 s: keep atomic tasks short" in caplog.text


# -- the monitor


def test_monitor_passes_on_what_is_settled_and_writes_nothing() -> None:
    bench = MonitorBench()
    try:
        record = make_record(id="a" * 32)
        report = Report(5, "gone", False, record.to_bytes(), True)
        bench.worker.send(encode_report(report))
        saved: list[Any] = []

        def has_answered() -> bool:
            saved.extend(bench.heard(bench.worker, Kind.SAVED))
            return bool(saved)

        bench.turn_until(has_answered)
        assert saved[0].facts == {"numbers": [5], "discarded": []}
        (settled,) = bench.heard(bench.pusher, Kind.SETTLED)
        assert settled.facts == {"receipts": ["gone"], "done": ["gone"]}
        assert not Task.objects.exists()
        assert WORKER in bench.monitor.workers
    finally:
        bench.close()


# -- where it can't work


def test_other_brokers_refuse_at_once() -> None:
    with pytest.raises(NotAtomic, match=r"'atomic' needs the queue and the results"):
        async_task(add_group, atomic=True, broker=Memory("things"))


def test_queue_in_another_database_refuses_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = ORM("things")
    monkeypatch.setattr(broker, "database", "queue")
    with pytest.raises(NotAtomic, match="Set Q_CLUSTER"):
        async_task(add_group, atomic=True, broker=broker)


def test_worker_that_gets_one_nevertheless_runs_nothing(q_settings: Any) -> None:
    q_settings(poll=0.02, cluster_name="things")
    bench = Bench(Memory("things"))
    try:
        outcome = bench.execute("add_group")
        assert not outcome.success
        assert "leave 'atomic' off" in outcome.result
        assert groups() == set()
    finally:
        bench.close()


# -- asking for it


def test_setting_asks_for_all_tasks(q_settings: Any) -> None:
    plain = Envelope.from_call("tests.functions.add", (), {}, {})
    off = Envelope.from_call("tests.functions.add", (), {}, {"atomic": False})
    for setting in (True, False):
        q_settings(atomic=setting)
        runner = Runner(conf.get_options())
        assert runner.is_atomic(plain) is setting
        assert not runner.is_atomic(off)
        runner.close()


@pytest.mark.parametrize(("name", "own"), [("take_atomic", False), ("add_group", True)])
def test_keyword_of_the_function_is_none_of_ours(
    name: str, own: bool, q_settings: Any
) -> None:
    options = {"atomic": True, "undecided_options": ["atomic"]}
    envelope = Envelope.from_call(here(name), (), {}, options)
    runner = Runner(conf.get_options())
    assert runner.is_atomic(envelope) is own
    runner.close()


def test_objects_have_it(q_settings: Any) -> None:
    q_settings(poll=0.02)
    task = AsyncTask(add_group, "one")
    assert task.atomic is False
    task.atomic = True
    task.run()
    Chain([(add_group, ("two",))], atomic=True).run()
    sent = [Envelope.open(row.payload) for row in OrmQ.objects.order_by("id")]
    assert [envelope.atomic for envelope in sent] == [True, True]


def test_sync_mode_rolls_back_too() -> None:
    with pytest.raises(ValueError, match="on purpose"):
        async_task(add_and_fail, sync=True, atomic=True)
    assert groups() == set()
    assert result(async_task(add_group, sync=True, atomic=True)) == "made"
