"""The outbox: what becomes of a task between its transaction and a broker elsewhere."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, transaction
from django.test import Client
from django.urls import reverse
from redis import Redis as RedisClient

from django_q import outbox, results
from django_q.brokers import Broker, Consignment, get_broker
from django_q.brokers.memory import Memory
from django_q.brokers.redis_broker import Redis
from django_q.clock import now
from django_q.cluster import relay
from django_q.cluster.relay import Relay, first_chunk
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.exceptions import PackageTooLarge
from django_q.models import OrmQ, OutboxEntry, Schedule
from django_q.outbox import MOST_NAMED, Courier
from django_q.outcome import Outcome
from django_q.signing import SignedPackage
from django_q.tasks import async_bulk, async_task
from tests.aliases import added_database
from tests.functions import add
from tests.servers import RedisServer, free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def on_redis(redis_server: RedisServer, q_settings: Any) -> Iterator[Broker]:
    """The queue is on Redis, and all tasks go there through the outbox."""
    queue = f"q{uuid.uuid4().hex[:8]}"
    q_settings(orm=None, redis=redis_server.url, cluster_name=queue, outbox=True)
    yield get_broker()
    with RedisClient.from_url(redis_server.url) as client:
        client.flushdb()


@pytest.fixture
def away(on_redis: Broker, q_settings: Any) -> Broker:
    """Redis itself, while this site's address for it leads nowhere."""
    q_settings(redis=f"redis://127.0.0.1:{free_port()}/0")
    return on_redis


class Picky(Redis):
    """Redis, but for packages that are too large for it."""

    def enqueue(self, package: str, **options: Any) -> Any:
        if len(package) > 5000:
            raise PackageTooLarge("5000 at most.")
        return super().enqueue(package, **options)


def age() -> None:
    """The grace of all entries is over."""
    outbox.put_back(list(OutboxEntry.objects.all()), -1)


def ids_on(broker: Broker) -> list[str]:
    return [SignedPackage.loads(package)["id"] for package in broker.peek(100)]


def entries() -> list[str]:
    return list(OutboxEntry.objects.order_by("pk").values_list("task_id", flat=True))


# ------------------------------------------------------------- what a producer does


def test_task_is_in_the_table_until_the_commit_and_then_on_the_broker(
    on_redis: Broker,
) -> None:
    with transaction.atomic():
        task_id = async_task(add, 1)
        assert entries() == [task_id]
        assert on_redis.queue_size() == 0
    assert entries() == []
    assert ids_on(on_redis) == [task_id]


def test_rollback_takes_the_entry_back(on_redis: Broker) -> None:
    with transaction.atomic():
        async_task(add, 1)
        transaction.set_rollback(True)
    with transaction.atomic():
        kept = async_task(add, 2)
        with transaction.atomic():
            async_task(add, 3)
            transaction.set_rollback(True)
    assert entries() == []
    assert ids_on(on_redis) == [kept]


def test_one_task_can_go_through_the_outbox_and_another_past_it(
    away: Broker, q_settings: Any
) -> None:
    with pytest.raises(ConnectionError):
        async_task(add, 1, outbox=False)
    q_settings(outbox=False)
    with pytest.raises(ConnectionError):
        async_task(add, 1)
    assert entries() == []
    sent = async_task(add, 1, outbox=True)
    assert entries() == [sent]


def test_broker_that_is_away_is_said_once_and_costs_no_task(
    away: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "django-q"):
        sent = [async_task(add, n) for n in range(3)]
    assert entries() == sent
    assert len(caplog.records) == 1
    assert "wait in the outbox" in caplog.text


def test_tasks_in_bulk_are_in_the_table_until_the_commit(on_redis: Broker) -> None:
    with transaction.atomic():
        ids = async_bulk(add, ((n,) for n in range(MOST_NAMED + 1)))
        assert entries() == ids
        assert on_redis.queue_size() == 0
    assert entries() == []
    assert on_redis.queue_size() == len(ids)


def test_tasks_in_bulk_outlive_a_broker_that_is_away(away: Broker) -> None:
    assert async_bulk(add, [(1,), (2,)]) == entries()


def test_send_on_commit_off_does_not_send_before_the_commit(
    on_redis: Broker, q_settings: Any
) -> None:
    q_settings(send_on_commit=False)
    with transaction.atomic():
        async_task(add, 1)
        assert on_redis.queue_size() == 0
    assert on_redis.queue_size() == 1


def test_transaction_of_another_database_is_waited_for(on_redis: Broker) -> None:
    with added_database() as alias:
        connections[alias].ensure_connection()
        connections.settings[alias] = connections[alias].settings_dict
        with transaction.atomic(using=alias):
            async_task(add, 1)
            transaction.set_rollback(True, using=alias)
        assert entries() == []
        with transaction.atomic(using=alias):
            task_id = async_task(add, 2)
            assert entries() == []
    assert entries() == []
    assert ids_on(on_redis) == [task_id]


def test_queue_in_the_same_database_needs_no_outbox(q_settings: Any) -> None:
    q_settings(outbox=True)
    with transaction.atomic():
        async_task(add, 1)
        assert entries() == []
        assert OrmQ.objects.count() == 1


def test_queue_in_another_database_is_sent_to_after_the_commit(q_settings: Any) -> None:
    with added_database() as alias:
        q_settings(orm=alias, outbox=True)
        before = OrmQ.objects.using(alias).count()
        with transaction.atomic():
            task_id = async_task(add, 1)
            assert entries() == [task_id]
        assert OrmQ.objects.using(alias).count() == before + 1
    assert entries() == []


def test_broker_of_the_call_has_no_outbox(on_redis: Broker) -> None:
    own = Memory(f"m{uuid.uuid4().hex}")
    with pytest.raises(TypeError, match="outbox"):
        async_task(add, 1, broker=own, outbox=True)
    async_task(add, 1, broker=own)
    assert (own.queue_size(), entries()) == (1, [])
    own.delete_queue()


def test_function_that_takes_the_word_gets_it() -> None:
    task_id = async_task("tests.functions.echo", outbox="home")
    [row] = OrmQ.objects.filter(task_key=task_id)
    assert row.kwargs() == {"outbox": "home"}


def test_migration_of_a_project_that_comes_before_the_table_enqueues_without_it(
    on_redis: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = apps.get_app_config("django_q")
    monkeypatch.setattr(app, "migrating", {"default"}, raising=False)
    async_task(add, 1)
    with monkeypatch.context() as earlier:
        earlier.setattr(OutboxEntry._meta, "db_table", "not_yet")  # noqa: SLF001
        async_task(add, 2)
    assert (on_redis.queue_size(), entries()) == (2, [])


def test_same_id_twice_is_one_entry(away: Broker) -> None:
    task_id = uuid.uuid4().hex
    with transaction.atomic():
        for _ in range(2):
            async_task(add, 1, q_options={"task_id": task_id})
        assert entries() == [task_id]
    assert entries() == [task_id]


# ----------------------------------------------------------------- what a relay does


def test_relay_sends_what_was_left_once_its_grace_is_over(
    away: Broker, on_redis: Broker, q_settings: Any, redis_server: RedisServer
) -> None:
    sent = [async_task(add, n) for n in range(3)]
    q_settings(redis=redis_server.url)
    assert Relay().send_overdue() == relay.LOOK_EVERY
    assert on_redis.queue_size() == 0
    age()
    sender = Relay()
    sender.send_overdue()
    sender.close()
    assert entries() == []
    assert ids_on(on_redis) == sent


def test_entry_that_was_sent_but_not_removed_is_queued_once(
    away: Broker, on_redis: Broker, q_settings: Any, redis_server: RedisServer
) -> None:
    task_id = async_task(add, 1)
    [package] = OutboxEntry.objects.values_list("package", flat=True)
    on_redis.enqueue(package, task_id=task_id)
    age()
    q_settings(redis=redis_server.url)
    Relay().send_overdue()
    assert ids_on(on_redis) == [task_id]
    assert entries() == []


def has_ended(task_id: str, **facts: Any) -> None:
    """What is in the outbox for it was sent, and has run; its end is saved."""
    package = OutboxEntry.objects.get(task_id=task_id).package
    facts = {"success": True, "result": 1, "stopped": now(), **facts}
    outcome = Outcome(envelope=Envelope.open(package), **facts)
    _, record = results.conclude(outcome, get_options())
    results.save([record], using="default")


def test_task_that_has_succeeded_meanwhile_is_not_sent_again_whatever_the_clocks_say(
    away: Broker,
    on_redis: Broker,
    q_settings: Any,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "django-q")
    ran = async_task(add, 1)
    has_ended(ran, stopped=now() - timedelta(hours=1))
    age()
    q_settings(redis=redis_server.url)
    Relay().send_overdue()
    assert entries() == ids_on(on_redis) == []
    assert f"Left in the outbox, but done: {ran}. Not sent again" in caplog.messages


@pytest.mark.parametrize("success", [True, False])
def test_task_that_is_queued_anew_under_its_id_is_sent_whatever_the_clocks_say(
    away: Broker,
    on_redis: Broker,
    q_settings: Any,
    redis_server: RedisServer,
    success: bool,
) -> None:
    options = {"task_id": uuid.uuid4()}
    task_id = async_task(add, 1, q_options=options)
    has_ended(task_id, success=success, stopped=now() + timedelta(hours=1))
    outbox.remove([task_id])
    async_task(add, 1, q_options=options)
    age()
    q_settings(redis=redis_server.url)
    Relay().send_overdue()
    assert entries() == []
    assert ids_on(on_redis) == [task_id]


def test_task_that_has_failed_meanwhile_is_sent(
    away: Broker, on_redis: Broker, q_settings: Any, redis_server: RedisServer
) -> None:
    """It may have been queued again since: an id has one place in the outbox."""
    task_id = async_task(add, 1)
    has_ended(task_id, success=False, stopped=now() + timedelta(hours=1))
    age()
    q_settings(redis=redis_server.url)
    Relay().send_overdue()
    assert ids_on(on_redis) == [task_id]


@pytest.mark.parametrize("is_signed", [True, False])
def test_entry_that_holds_no_task_is_sent(
    away: Broker,
    on_redis: Broker,
    q_settings: Any,
    redis_server: RedisServer,
    is_signed: bool,
) -> None:
    """What becomes of it is for a worker to say."""
    package = SignedPackage.dumps("no task") if is_signed else "no package"
    has_ended(async_task(add, 1))
    OutboxEntry.objects.update(package=package)
    age()
    q_settings(redis=redis_server.url)
    Relay().send_overdue()
    assert entries() == []
    assert on_redis.peek() == [package]


def test_two_relays_never_take_the_same_entry(away: Broker) -> None:
    sent = [async_task(add, n) for n in range(4)]
    age()
    first = outbox.take(3, 60, without=())
    second = outbox.take(3, 60, without=())
    taken = [entry.task_id for entry in first + second]
    assert (len(first), sorted(taken)) == (3, sorted(sent))


def test_relays_that_work_at_once_share_what_there_is(away: Broker) -> None:
    count = 60
    new = [OutboxEntry(task_id=n, queue="q", package="p") for n in range(count)]
    for entry in new:
        entry.created = entry.due = now() - timedelta(minutes=1)
    OutboxEntry.objects.bulk_create(new)

    def take_all(_number: int) -> list[str]:
        taken: list[str] = []
        try:
            while len(rows := outbox.take(5, 60, without=())):
                taken += [row.task_id for row in rows]
        finally:
            connections.close_all()
        return taken

    with ThreadPoolExecutor(3) as threads:
        taken = [
            task_id for part in threads.map(take_all, range(3)) for task_id in part
        ]
    assert len(taken) == len(set(taken))
    # Whoever skips what others lock may be done before they are.
    taken += take_all(0)
    assert sorted(taken, key=int) == [str(n) for n in range(count)]


def test_package_that_is_refused_holds_up_nobody_and_shows_why(
    on_redis: Broker, q_settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    q_settings(broker_class=f"{__name__}.Picky")
    large = async_task(add, "x" * 9000)
    assert entries() == [large]
    for n in range(2):
        outbox.write(Consignment(f"package {n}", get_options().queue, uuid.uuid4().hex))
    sender = Relay()
    pauses = []
    for _ in range(3):
        age()
        before = now()
        with caplog.at_level(logging.ERROR, "django-q"):
            sender.send_overdue()
        pauses.append(OutboxEntry.objects.get().due - before)
    assert on_redis.queue_size() == 2
    entry = OutboxEntry.objects.get()
    assert (entry.task_id, entry.tries) == (large, 3)
    assert "PackageTooLarge: 5000 at most." in entry.error
    assert pauses[0] < pauses[1] < pauses[2]
    assert caplog.text.count("stays in the outbox") == 1


def test_broker_that_is_away_holds_up_only_its_own_queue(
    away: Broker, on_redis: Broker, q_settings: Any, redis_server: RedisServer
) -> None:
    queue = get_options().queue
    there = {"redis": redis_server.url}
    q_settings(ALT_CLUSTERS={"reports": there})
    for name in (queue, "reports", queue):
        outbox.write(Consignment("package", name, uuid.uuid4().hex))
    age()
    sender = Relay()
    sender.send_overdue()
    assert get_broker("reports").queue_size() == 1
    assert set(OutboxEntry.objects.values_list("queue", flat=True)) == {queue}
    # A pause is for the broker, not for its packages: they were not tried.
    assert set(OutboxEntry.objects.values_list("tries", flat=True)) == {0}
    age()
    sender.send_overdue()
    assert len(entries()) == 2


def test_memory_of_a_pass_is_bounded(
    on_redis: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "CHUNK", 100)
    monkeypatch.setattr(relay, "BATCH", 6)
    for size in (10, 60, 60, 500, 10, 10, 10):
        outbox.write(Consignment("x" * size, get_options().queue, uuid.uuid4().hex))
    age()
    left = outbox.take(6, 0, without=())
    sizes = []
    while left:
        chunk = first_chunk(left)
        sizes.append([entry.size for entry in chunk])
        left = left[len(chunk) :]
    assert sizes == [[10, 60], [60], [500], [10, 10]]
    age()
    sender = Relay()
    assert sender.send_overdue() == 0.0
    assert on_redis.queue_size() == 6
    assert sender.send_overdue() == relay.LOOK_EVERY
    assert on_redis.queue_size() == 7


# ------------------------------------------------------------------------- schedules


def plan() -> Schedule:
    queue = get_options().queue
    columns = {"next_run": now(), "schedule_type": Schedule.DAILY, "cluster": queue}
    return Schedule.objects.create(func="a.b", **columns)


def fire() -> int:
    return Scheduler(get_options(), get_broker(), "Process-1").enqueue_due()


def test_slot_goes_out_after_its_row_has_moved_on(
    on_redis: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = plan()
    seen = []

    def look(self: Courier, new: Sequence[Consignment], send: Any) -> None:
        in_transaction = transaction.get_connection().in_atomic_block
        seen.append((in_transaction, entries(), Schedule.objects.get().task))
        usual(self, new, send)

    usual = Courier.deliver
    monkeypatch.setattr(Courier, "deliver", look)
    assert fire() == 1
    row.refresh_from_db()
    assert seen == [(False, [row.task], row.task)]
    assert ids_on(on_redis) == [row.task]
    assert entries() == []


def test_broker_that_is_away_stops_no_schedule(away: Broker) -> None:
    plan()
    assert fire() == 1
    row = Schedule.objects.get()
    assert entries() == [row.task]
    assert row.next_run is not None
    assert row.next_run > now()
    assert not row.error


@pytest.mark.parametrize("by", ["scheduler", "relay"])
def test_slot_that_was_sent_but_not_removed_does_not_run_again(
    by: str,
    on_redis: Broker,
    q_settings: Any,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError

    if by == "relay":
        q_settings(redis=f"redis://127.0.0.1:{free_port()}/0")
    plan()
    with monkeypatch.context() as crashing:
        crashing.setattr(outbox, "remove", crash)
        assert fire() == 1
        q_settings(redis=redis_server.url)
        if by == "relay":
            age()
            with pytest.raises(RuntimeError):
                Relay().send_overdue()
    [(receipt, _)] = on_redis.dequeue() or []
    on_redis.acknowledge(str(receipt))
    age()
    Relay().send_overdue()
    assert entries() == []
    assert on_redis.queue_size() == 0


# ----------------------------------------------------------------------- what is seen


def test_admin_shows_and_deletes_entries_and_changes_none(away: Broker) -> None:
    task_id = async_task(add, 1)
    entry = OutboxEntry.objects.get()
    outbox.put_off(entry, PackageTooLarge("Far too large."), 60)
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    page = client.get(reverse("admin:django_q_outboxentry_changelist"))
    assert task_id in page.text
    assert "Far too large." in page.text
    change = reverse("admin:django_q_outboxentry_change", args=[entry.pk])
    assert client.get(change).status_code == 200
    assert client.post(change, {"queue": "other"}).status_code == 403
    assert client.get(reverse("admin:django_q_outboxentry_add")).status_code == 403
    delete = reverse("admin:django_q_outboxentry_delete", args=[entry.pk])
    client.post(delete, {"post": "yes"})
    assert entries() == []


def test_qinfo_counts_entries(q_settings: Any) -> None:
    shown = StringIO()
    call_command("qinfo", stdout=shown)
    assert "outbox" not in shown.getvalue()
    for _ in range(2):
        outbox.write(Consignment("package", "q", uuid.uuid4().hex))
    outbox.put_off(OutboxEntry.objects.all()[0], OSError("no"), 60)
    shown = StringIO()
    call_command("qinfo", stdout=shown)
    assert "In the outbox: 2, refused: 1" in shown.getvalue()
    shown = StringIO()
    call_command("qinfo", "--json", stdout=shown)
    totals = json.loads(shown.getvalue())["totals"]
    assert (totals["outbox"], totals["outbox_refused"]) == (2, 1)
