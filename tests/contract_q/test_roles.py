"""The functions pusher, worker and monitor, driven by hand in one process."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from queue import SimpleQueue
from typing import Any

import pytest
from django.dispatch import Signal
from django.utils import timezone

from django_q import clock, conf, humanhash, signals
from django_q.brokers import Broker, get_broker
from django_q.brokers.memory import Memory
from django_q.conf import Conf
from django_q.models import Attempt, Failure, OrmQ, Schedule, Success, Task
from django_q.monitor import monitor, save_cached, save_task
from django_q.pusher import pusher
from django_q.queues import Queue
from django_q.scheduler import scheduler
from django_q.signing import SignedPackage
from django_q.tasks import (
    async_chain,
    async_iter,
    async_task,
    fetch,
    fetch_cached,
    result,
    result_cached,
    result_group,
)
from django_q.worker import rss_check, worker
from tests import functions
from tests.servers import RedisServer
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

HOOKED: list[Any] = []


def note(task: Task) -> None:
    """A hook."""
    HOOKED.append((task.name, task.success, task.result))


@pytest.fixture(autouse=True)
def _no_hooks_yet() -> None:
    HOOKED.clear()


class Drive:
    """Pusher, worker and monitor, one after the other, over queues of ours."""

    def __init__(self, broker: Broker | None = None) -> None:
        self.broker = broker or get_broker()
        self.task_queue, self.result_queue = Queue(), Queue()
        self.stopped = multiprocessing.Event()
        self.stopped.set()
        self.timer = multiprocessing.Value("f", -1)

    def push(self) -> None:
        pusher(self.task_queue, self.stopped, broker=self.broker)

    def work(self, **how: Any) -> None:
        self.task_queue.put("STOP")
        worker(self.task_queue, self.result_queue, self.timer, **how)

    def save(self) -> None:
        self.result_queue.put("STOP")
        monitor(self.result_queue, self.broker)

    def once(self) -> None:
        self.push()
        self.work()
        self.save()

    def until_empty(self) -> None:
        while self.broker.queue_size():
            self.once()

    def close(self) -> None:
        for queue in (self.task_queue, self.result_queue):
            queue.close()
            queue.join_thread()


@pytest.fixture
def drive() -> Iterator[Drive]:
    driven = Drive()
    yield driven
    driven.close()


class Listener:
    """A receiver that writes its name down."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self.name, self.seen = name, seen

    def __call__(self, **_facts: Any) -> None:
        self.seen.append(self.name)


@contextmanager
def heard(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    """What the receivers of a signal are told."""
    told: list[dict[str, Any]] = []

    def listen(**facts: Any) -> None:
        told.append(facts)

    signal.connect(listen)
    try:
        yield told
    finally:
        signal.disconnect(listen)


# ------------------------------------------------------------------ the whole way


def test_a_task_goes_from_the_broker_to_its_row(drive: Drive):
    task_id = async_task("tests.functions.add", 20, 22, group="sums")
    assert drive.broker.queue_size() == 1
    drive.push()
    assert (drive.broker.queue_size(), drive.task_queue.qsize()) == (0, 1)
    assert drive.broker.lock_size() == 1
    drive.work()
    assert (drive.task_queue.qsize(), drive.result_queue.qsize()) == (0, 1)
    assert drive.timer.value == -1
    drive.save()
    assert drive.result_queue.qsize() == 0
    row = Success.objects.get(pk=task_id)
    assert (row.result, row.group, row.attempt_count) == (42, "sums", 1)
    assert row.cluster == Conf.CLUSTER_NAME
    assert not OrmQ.objects.exists()


def test_queues_of_any_kind_will_do():
    """Whatever has get and put."""
    tasks, ended = SimpleQueue[Any](), SimpleQueue[Any]()
    event, timer = threading.Event(), multiprocessing.Value("d", -1)
    event.set()
    task_id = async_task(functions.add, 1, 2)
    pusher(tasks, event)
    tasks.put("STOP")
    worker(tasks, ended, timer)
    ended.put("STOP")
    monitor(ended)
    assert result(task_id) == 3


def test_a_pass_of_the_pusher_takes_as_many_as_bulk_says(q_settings: Any, drive: Drive):
    q_settings(bulk=3)
    for number in range(5):
        async_task("tests.functions.add", number)
    drive.push()
    assert (drive.task_queue.qsize(), drive.broker.queue_size()) == (3, 2)


def test_pusher_goes_on_until_the_event_is_set(drive: Drive):
    drive.stopped.clear()
    broker = Memory(list_key="roles")
    for number in range(3):
        async_task("tests.functions.add", number, broker=broker)
    arguments = (drive.task_queue, drive.stopped, broker)
    thread = threading.Thread(target=pusher, args=arguments)
    thread.start()
    try:
        wait_until(lambda: drive.task_queue.qsize() == 3)
    finally:
        drive.stopped.set()
        thread.join()


def test_the_task_on_the_queue_is_a_dict_with_receipt_and_cluster(drive: Drive):
    task_id = async_task("tests.functions.add", 1, q_options={"timeout": 7})
    drive.push()
    task = drive.task_queue.get()
    assert (task["id"], task["args"], task["kwargs"]) == (task_id, (1,), {})
    assert task["cluster"] == Conf.CLUSTER_NAME
    assert task["timeout"] == 7
    assert task["ack_id"] is not None


def test_the_ended_task_is_the_dict_with_result_and_without_timeout(drive: Drive):
    async_task("tests.functions.add", 1, timeout=7)
    drive.push()
    drive.work()
    task = drive.result_queue.get()
    assert (task["result"], task["success"]) == (1, True)
    assert task["stopped"] >= task["started"]
    assert "timeout" not in task
    assert task["ack_id"] is not None


@pytest.mark.parametrize(
    ("func", "args", "value"),
    [
        ("len", ("four",), 4),
        ("math.copysign", (1, -2), -1),
        ("datetime.date.fromisoformat", ("2026-05-12",), date(2026, 5, 12)),
        (functions.add, (1, 2), 3),
        (date, (2026, 5, 12), date(2026, 5, 12)),
        (len, ("four",), 4),
    ],
)
def test_functions_of_all_kinds_are_found(
    drive: Drive, func: Any, args: tuple[Any, ...], value: Any
):
    task_id = async_task(func, *args)
    drive.once()
    assert result(task_id) == value


def test_receivers_in_the_worker_see_the_receipt_and_no_time_limit(drive: Drive):
    with (
        heard(signals.pre_execute) as before,
        heard(signals.post_execute_in_worker) as after,
    ):
        async_task("tests.functions.add", 1, timeout=7)
        drive.push()
        drive.work()
    for facts in (*before, *after):
        assert facts["func"] is functions.add
        assert facts["task"]["ack_id"] is not None
        assert "timeout" not in facts["task"]
    assert after[0]["task"]["result"] == 1


def test_a_dict_with_the_fixed_keys_is_enough(drive: Drive):
    task = bare_task(func="tests.functions.add", args=(1, 1))
    drive.task_queue.put(task)
    drive.work()
    drive.save()
    assert result(task["id"]) == 2


def test_worker_uses_the_time_limit_it_is_given(drive: Drive):
    async_task("tests.functions.sleep", 30)
    drive.push()
    drive.work(timeout=0.1)
    drive.save()
    assert (
        "exceeded maximum timeout value (0.1 seconds)" in Failure.objects.get().result
    )


def test_the_timer_shows_the_limit_while_a_task_runs(drive: Drive):
    with heard(signals.pre_execute) as told:
        timers: list[float] = []
        signals.pre_execute.connect(
            look := lambda **_: timers.append(drive.timer.value)
        )
        for options in ({"timeout": 30}, {}):
            async_task("tests.functions.add", 1, q_options=options)
            drive.push()
        drive.work(timeout=0)
        signals.pre_execute.disconnect(look)
    assert timers == [30, -1]
    assert len(told) == 2
    assert drive.timer.value == -1


def test_a_worn_out_worker_leaves_the_rest(q_settings: Any, drive: Drive):
    q_settings(recycle=2)
    for _ in range(3):
        async_task("tests.functions.add", 1)
        drive.push()
    drive.work()
    assert drive.result_queue.qsize() == 2
    assert drive.timer.value == -2
    assert drive.task_queue.get()["func"] == "tests.functions.add"


def test_memory_wears_a_worker_out(q_settings: Any, drive: Drive):
    assert not rss_check()
    q_settings(max_rss=1)
    assert rss_check()
    for _ in range(2):
        async_task("tests.functions.add", 1)
        drive.push()
    drive.work()
    assert drive.result_queue.qsize() == 1
    assert drive.timer.value == -2


def test_signals_come_in_order(drive: Drive):
    seen: list[str] = []
    names = ("post_spawn", "pre_execute", "post_execute_in_worker", "post_execute")
    listeners = {name: Listener(name, seen) for name in names}
    for name, listener in listeners.items():
        getattr(signals, name).connect(listener)
    try:
        async_task("tests.functions.add", 1)
        drive.once()
    finally:
        for name, listener in listeners.items():
            getattr(signals, name).disconnect(listener)
    assert seen == list(names)


def test_post_execute_comes_after_saving_and_has_no_receipt(drive: Drive):
    rows: list[bool] = []
    with heard(signals.post_execute) as told:
        signals.post_execute.connect(
            look := lambda **_: rows.append(not OrmQ.objects.exists())
        )
        async_task("tests.functions.add", 1)
        drive.once()
        signals.post_execute.disconnect(look)
    assert rows == [True]
    [facts] = told
    assert facts["sender"] == "django_q"
    assert facts["task"]["result"] == 1
    assert "ack_id" not in facts["task"]


def test_keys_of_pre_enqueue_receivers_reach_post_execute(drive: Drive):
    def mark(task: dict[str, Any], **_: Any) -> None:
        task["tenant"] = "north"

    signals.pre_enqueue.connect(mark)
    try:
        with heard(signals.post_execute) as told:
            async_task("tests.functions.add", 1)
            drive.once()
    finally:
        signals.pre_enqueue.disconnect(mark)
    assert told[0]["task"]["tenant"] == "north"


def test_a_receiver_that_raises_does_not_end_the_monitor(drive: Drive, caplog: Any):
    def refuse(**_: Any) -> None:
        raise ValueError("no")

    ids = [async_task("tests.functions.add", number) for number in range(2)]
    signals.post_execute.connect(refuse)
    try:
        drive.push()
        drive.push()
        drive.work()
        drive.save()
    finally:
        signals.post_execute.disconnect(refuse)
    assert [result(task_id) for task_id in ids] == [0, 1]
    assert "a receiver of post_execute failed" in caplog.text


# --------------------------------------------------------------------- bad tasks


@pytest.mark.parametrize(
    ("func", "says"),
    [
        ("tests.functions.fail", "on purpose : Traceback"),
        ("tests.functions.leave", "SystemExit"),
        ("tests.functions.gone", "Function tests.functions.gone is not defined"),
        ("tests.acceptance.raises_on_import.task", "is not defined"),
        ("tests.functions.unpicklable", "can't be stored"),
    ],
)
def test_whatever_goes_wrong_is_a_failure(drive: Drive, func: str, says: str):
    task_id = async_task(func)
    drive.once()
    row = Failure.objects.get(pk=task_id)
    assert says in row.result
    assert not OrmQ.objects.exists(), "recorded and acknowledged"


def test_a_package_that_nobody_signed_is_told_as_failed(drive: Drive, caplog: Any):
    drive.broker.enqueue("not signed by us")
    drive.push()
    assert drive.task_queue.qsize() == 0
    assert not OrmQ.objects.exists()
    assert "rejected package" in caplog.text


def test_a_package_of_something_else_is_told_as_failed(drive: Drive):
    drive.broker.enqueue(SignedPackage.dumps(["no", "task"]))
    drive.push()
    assert drive.task_queue.qsize() == 0
    assert not OrmQ.objects.exists()


class Moved:
    """A class that is gone when its package is opened."""


def test_a_package_that_can_not_be_opened_leaves_a_row(drive: Drive, monkeypatch: Any):
    task_id = async_task("tests.functions.echo", Moved())
    monkeypatch.delattr(f"{__name__}.Moved")
    drive.push()
    assert drive.task_queue.qsize() == 0
    assert "Moved" in Failure.objects.get(pk=task_id).result
    assert not OrmQ.objects.exists()


class Away(Memory):
    """A broker that can't be reached."""

    def dequeue(self, count: int | None = None) -> Any:
        raise ConnectionError("no route")


def test_a_broker_that_fails_is_logged(drive: Drive, caplog: Any):
    drive.broker = Away()
    drive.push()
    assert "no route" in caplog.text
    assert drive.task_queue.qsize() == 0


def test_plain_pairs_of_a_broker_without_receipts(drive: Drive):
    packages = [SignedPackage.dumps(bare_task(func="tests.functions.fail"))]

    class Plain(Broker):
        def dequeue(self) -> Any:  # type: ignore[override]
            return [(None, packages.pop())] if packages else None

    drive.broker = Plain()
    drive.once()
    drive.push()
    assert drive.task_queue.qsize() == 0
    assert Failure.objects.get().attempt_count == 1


# ------------------------------------------------------ acknowledging and retrying


def test_failures_are_tried_again_as_often_as_asked(q_settings: Any, drive: Drive):
    q_settings(max_attempts=3, retry_delay=0)
    task_id = async_task("tests.functions.fail", hook=note)
    counts = []
    while drive.broker.queue_size():
        drive.once()
        counts.append(Failure.objects.get(pk=task_id).attempt_count)
    assert counts == [1, 2, 3]
    attempts = Attempt.objects.filter(task_id=task_id)
    assert [attempt.number for attempt in attempts] == counts
    assert {attempt.started for attempt in attempts} == {None}, "nobody knows"
    assert not OrmQ.objects.exists()
    assert len(HOOKED) == 1, "once, after the last"


def test_failures_without_end_come_back_after_retry(q_settings: Any, drive: Drive):
    q_settings(ack_failures=False)
    async_task("tests.functions.fail")
    drive.once()
    row = OrmQ.objects.get()
    assert row.lock is not None
    assert row.lock > timezone.now() + timedelta(seconds=Conf.RETRY / 2)


def test_ack_failure_of_the_task_ends_it(q_settings: Any, drive: Drive):
    q_settings(ack_failures=False)
    async_task("tests.functions.fail", ack_failure=True)
    drive.once()
    assert not OrmQ.objects.exists()


def test_a_result_that_is_not_saved_is_not_acknowledged(
    drive: Drive, monkeypatch: Any, caplog: Any
):
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("the database is away")

    async_task("tests.functions.add", 1)
    drive.push()
    drive.work()
    monkeypatch.setattr("django_q.results.save", refuse)
    drive.save()
    assert OrmQ.objects.exists()
    assert "Could not save task result" in caplog.text


# ------------------------------------------------------------------ what follows


@pytest.mark.parametrize("hook", [note, f"{__name__}.note"])
def test_hooks_are_called(drive: Drive, hook: Any):
    async_task("tests.functions.add", 1, hook=hook, task_name="one")
    async_task("tests.functions.add", 2, hook=hook, task_name="two", save=False)
    async_task("tests.functions.add", 3, hook=hook, task_name="three", cached=True)
    drive.until_empty()
    assert HOOKED == [("one", True, 1), ("two", True, 2), ("three", True, 3)]
    assert Success.objects.count() == 1


def test_a_group_is_collected(drive: Drive):
    for number in range(3):
        async_task("tests.functions.add", number, group="three")
    drive.until_empty()
    assert sorted(result_group("three", count=3, wait=1) or []) == [0, 1, 2]


def test_a_chain_goes_on_link_by_link(drive: Drive):
    add = "tests.functions.add"
    group = async_chain([(add, (1,)), (add, (2,)), (add, (3,), {"save": False})])
    drive.once()
    assert drive.broker.queue_size() == 1, "the next link, and no more"
    drive.until_empty()
    assert sorted(result_group(group) or []) == [1, 2]
    assert Success.objects.filter(group=group).count() == 2


def test_a_chain_stops_at_a_failed_link(drive: Drive):
    group = async_chain(["tests.functions.fail", ("tests.functions.add", (1,))])
    drive.until_empty()
    assert Task.objects.filter(group=group).count() == 1


def test_cached_results_are_in_the_cache_alone(drive: Drive):
    good = async_task("tests.functions.add", 1, cached=True)
    bad = async_task("tests.functions.fail", cached=30)
    drive.until_empty()
    assert result_cached(good) == 1
    failure = fetch_cached(bad)
    assert failure is not None
    assert not failure.success
    assert not Task.objects.exists()
    assert not OrmQ.objects.exists()


def test_an_iterable_is_collated(drive: Drive):
    iter_id = async_iter("tests.functions.add", [(1, 2), (3, 4), 5])
    drive.until_empty()
    task = fetch(iter_id)
    assert task is not None
    assert task.result == [3, 7, 5]
    assert task.args == [(1, 2), (3, 4), 5]


def test_all_of_it_works_on_redis(redis_server: RedisServer, q_settings: Any):
    q_settings(redis=redis_server.url, orm=None, max_attempts=2, retry_delay=0)
    driven = Drive()
    try:
        bad = async_task("tests.functions.fail", task_name="bad", hook=note)
        group = async_chain(["tests.functions.nothing", ("tests.functions.add", (1,))])
        cached = async_task("tests.functions.add", 2, cached=True)

        def all_ended() -> bool:
            driven.once()
            return len(HOOKED) == 1 and not driven.broker.queue_size()

        wait_until(all_ended)
        assert Failure.objects.get(pk=bad).attempt_count == 2
        assert Success.objects.filter(group=group).count() == 2
        assert result_cached(cached) == 2
        assert (driven.broker.queue_size(), driven.broker.lock_size()) == (0, 0)
    finally:
        driven.broker.delete_queue()
        driven.broker.close()
        driven.close()


def test_scheduled_tasks_run_as_well(drive: Drive):
    Schedule.objects.create(func="tests.functions.add", args="1, 2", repeats=1)
    scheduler(broker=drive.broker)
    drive.once()
    assert Success.objects.get().result == 3


def test_one_pass_of_the_scheduler_moves_the_row(caplog: Any):
    caplog.set_level(logging.INFO, "django-q")
    row = Schedule.objects.create(
        func="tests.functions.add", name="daily", schedule_type=Schedule.DAILY
    )
    before = row.next_run
    scheduler()
    row.refresh_from_db()
    assert before is not None
    assert row.next_run == before + timedelta(days=1)
    assert OrmQ.objects.get().task_id() == row.task
    assert "from schedule [daily]" in caplog.text


def test_one_pass_makes_up_for_one_missed_run():
    due = clock.now() - timedelta(hours=5)
    row = Schedule.objects.create(
        func="tests.functions.add", schedule_type=Schedule.HOURLY, next_run=due
    )
    scheduler()
    row.refresh_from_db()
    assert row.next_run == due + timedelta(hours=1)
    assert OrmQ.objects.count() == 1


def test_scheduler_logs_what_it_can_not_do(monkeypatch: Any, caplog: Any):
    def refuse(*_: Any, **_options: Any) -> None:
        raise ConnectionError("no database")

    monkeypatch.setattr("django_q.cluster.scheduling.Scheduler.enqueue_due", refuse)
    scheduler()
    assert "Could not create task from schedule" in caplog.text


def test_replaced_error_reporter_is_told(drive: Drive, monkeypatch: Any):
    told: list[type[BaseException] | None] = []

    class Service:
        def report(self) -> None:
            told.append(sys.exc_info()[0])

    reporter = conf.ErrorReporter([Service()])
    monkeypatch.setattr(conf, "error_reporter", reporter, raising=False)
    async_task("tests.functions.fail", "by hand", broker=drive.broker)
    drive.once()
    with pytest.raises(ValueError, match="at once"):
        async_task("tests.functions.fail", "at once", sync=True)
    assert told == [ValueError, ValueError]


# ---------------------------------------------------------------------- save_task


def bare_task(**facts: Any) -> dict[str, Any]:
    """A task dict with the six keys that every one has."""
    name, task_id = humanhash.uuid()
    usual: dict[str, Any] = {"id": task_id, "name": name, "func": "tests.functions.add"}
    usual |= {"args": (), "kwargs": {}, "started": timezone.now()}
    return usual | facts


def ended_task(**facts: Any) -> dict[str, Any]:
    ending = {"result": 5, "success": True, "stopped": timezone.now()}
    return bare_task() | ending | facts


def test_each_saved_failure_counts_an_attempt(monkeypatch: Any):
    monkeypatch.setattr(Conf, "MAX_ATTEMPTS", 3)
    broker = get_broker()
    broker.enqueue(SignedPackage.dumps(bare_task()))
    [(receipt, _package)] = broker.dequeue() or []
    task = ended_task(success=False, result="no", ack_id=receipt)
    for count in (1, 2, 3):
        task["stopped"] = timezone.now()
        assert save_task(task, broker)
        row = Failure.objects.get(pk=task["id"])
        assert (row.attempt_count, row.stopped) == (count, task["stopped"])
        if count < 3:
            OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))
            [(task["ack_id"], _package)] = broker.dequeue() or []
    assert not OrmQ.objects.exists(), "acknowledged with the last attempt"


def test_a_saved_success_is_never_overwritten():
    task = ended_task(result="first")
    save_task(task, get_broker())
    save_task(task | {"result": "second"}, get_broker())
    save_task(task | {"result": "third", "success": False}, get_broker())
    assert Success.objects.get().result == "first"


def test_a_failure_becomes_a_success():
    task = ended_task(result="no", success=False)
    save_task(task, get_broker())
    save_task(task | {"result": "yes", "success": True}, get_broker())
    row = Success.objects.get()
    assert (row.result, row.attempt_count) == ("yes", 2)


def test_an_unwanted_success_leaves_no_row(monkeypatch: Any):
    save_task(ended_task(save=False), get_broker())
    monkeypatch.setattr(Conf, "SAVE_LIMIT", -1)
    save_task(ended_task(), get_broker())
    save_task(ended_task(success=False), get_broker())
    assert not Success.objects.exists()
    assert Failure.objects.count() == 1
    save_task(ended_task(save=True), get_broker())
    assert Success.objects.count() == 1


def test_the_oldest_success_makes_room(monkeypatch: Any):
    monkeypatch.setattr(Conf, "SAVE_LIMIT", 2)
    now = timezone.now()
    for age in (3, 2, 1):
        stopped = now - timedelta(hours=age)
        save_task(ended_task(result=age, stopped=stopped), get_broker())
    assert sorted(task.result for task in Success.objects.all()) == [1, 2]


def test_without_a_broker_the_usual_one_is_used():
    task = ended_task(chain=[("tests.functions.add", (1,))])
    save_task(task)
    assert OrmQ.objects.get().func() == "tests.functions.add"


def test_errors_are_logged_and_not_raised(monkeypatch: Any, caplog: Any):
    monkeypatch.setattr("django_q.results.save", raiser("away"))
    assert not save_task(ended_task(), get_broker())
    assert "Could not save task result" in caplog.text


def test_save_cached_keeps_a_result_that_asked_for_nothing():
    task = ended_task(group="cached")
    assert save_cached(task, get_broker())
    assert result_cached(task["id"]) == 5
    assert not Task.objects.exists()


def raiser(text: str) -> Callable[..., None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError(text)

    return refuse
