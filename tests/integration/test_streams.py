"""Streams: many packages are sent on while the server queues those before them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import DataError, connection, connections, transaction
from redis import Connection
from redis import Redis as Client

from django_q.brokers import Broker, Consignment, get_broker
from django_q.brokers.orm import ORM
from django_q.brokers.redis_broker import Redis
from django_q.brokers.streams import PORTION, PORTIONS, enqueue_all
from django_q.exceptions import BrokerError, BrokerUnavailable
from tests.aliases import added_database
from tests.integration.test_orm_broker import end_connection
from tests.proxy import Proxy
from tests.servers import RedisServer

MANY = PORTION * (PORTIONS + 1) + 7
"""More than one stream."""

MIDDLE = PORTION + 1
"""What is made when a portion is on its way."""

KIND = django_settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
on_postgres = pytest.mark.skipif(KIND != "postgresql", reason="only PostgreSQL")

Happening = Callable[[], Any]


def consignments(
    broker: Broker, count: int = MANY, happens: Happening = lambda: None
) -> Iterator[Consignment]:
    """So many, in the middle of which something happens."""
    for number in range(count):
        if number == MIDDLE:
            happens()
        yield Consignment(f"{number}", broker.short_key, uuid.uuid4().hex)


def sent_by(broker: Broker, *given: Any, **keywords: Any) -> list[str]:
    made = consignments(broker, *given, **keywords)
    return [each.package for load in enqueue_all(broker, made) for each in load]


def all_of(count: int = MANY) -> list[str]:
    return [f"{number}" for number in range(count)]


def taken_from(broker: Broker) -> list[str]:
    return [package for _, package in broker.dequeue(MANY * 2) or []]


class Mistake(Exception):
    """Whoever makes packages can't go on."""


def fail() -> None:
    raise Mistake


# ---------------------------------------------------------------------------- Redis


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """Somebody else who talks to the same server."""
    with Client.from_url(redis_server.url) as client:
        yield client
        client.flushdb()


@pytest.fixture
def open_redis(
    redis_server: RedisServer, client: Any, q_settings: Any
) -> Iterator[Callable[..., Redis]]:
    opened: list[Redis] = []

    def open_one(**way: Any) -> Redis:
        q_settings(redis={"port": redis_server.port, **way}, orm=None)
        opened.append(Redis(f"stream-{uuid.uuid4().hex[:8]}"))
        return opened[-1]

    yield open_one
    for broker in opened:
        with suppress(BrokerError):
            broker.close()


def test_redis_gets_all_in_order(open_redis: Any) -> None:
    broker = open_redis(max_connections=1)
    assert broker.stream_opener() is not None
    assert sent_by(broker) == all_of()
    assert taken_from(broker) == all_of()


def test_redis_has_begun_before_the_last_is_made(open_redis: Any, client: Any) -> None:
    broker = open_redis()
    seen: list[int] = []

    def look() -> None:
        while not client.llen(broker.list_key):
            pass
        seen.append(client.llen(broker.list_key))

    sent_by(broker, happens=look)
    assert seen == [PORTION]


def test_what_was_answered_is_not_sent_again(open_redis: Any, client: Any) -> None:
    """It may have run by then, and is not known any more."""
    broker, done = open_redis(), list[str]()

    def run_and_break() -> None:
        receipts, packages = zip(*broker.dequeue(PORTION), strict=True)
        done.extend(packages)
        broker.acknowledge_many([str(receipt) for receipt in receipts])
        client.client_kill_filter(_type="normal", skipme=True)

    assert sent_by(broker, happens=run_and_break) == all_of()
    assert done == all_of(PORTION)
    assert sorted(taken_from(broker), key=int) == all_of()[PORTION:]


@pytest.mark.parametrize("number_of_streams", [1, 2])
def test_connection_to_redis_that_is_lost_loses_and_repeats_nothing(
    open_redis: Any, client: Any, number_of_streams: int
) -> None:
    broker = open_redis(max_connections=1)
    broker.queue_size()
    count = MANY if number_of_streams == 2 else PORTION * 3
    kill = lambda: client.client_kill_filter(_type="normal", skipme=True)  # noqa: E731
    assert sent_by(broker, count, happens=kill) == all_of(count)
    assert sorted(taken_from(broker), key=int) == all_of(count)


def test_redis_that_forgets_the_script_is_told_again(
    open_redis: Any, client: Any
) -> None:
    broker = open_redis(max_connections=1)
    assert sent_by(broker, happens=client.script_flush) == all_of()
    assert sorted(taken_from(broker), key=int) == all_of()


def test_redis_without_memory_is_told_of_and_keeps_what_it_took(
    open_redis: Any, client: Any
) -> None:
    broker = open_redis()
    fill = lambda: client.config_set("maxmemory", 1)  # noqa: E731
    try:
        with pytest.raises(BrokerUnavailable, match="memory"):
            sent_by(broker, happens=fill)
    finally:
        client.config_set("maxmemory", 0)
    assert taken_from(broker) == all_of(PORTION)


def test_interrupted_stream_leaves_no_answer_to_others(open_redis: Any) -> None:
    broker = open_redis(max_connections=1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sent_by(broker, happens=interrupt)
    assert broker.queue_size() == PORTION


def test_question_after_health_takes_no_answer_of_ours(
    redis_server: RedisServer,
    client: Any,
    q_settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keywords: Any = {"port": redis_server.port, "health_check_interval": 0.001}
    own = Client(**keywords)
    q_settings(redis={"client": lambda: own}, orm=None)
    broker = Redis("healthy")
    monkeypatch.delattr(Redis, "enqueue_many")
    monkeypatch.delattr(Broker, "enqueue_many")
    sent = sent_by(broker, happens=lambda: client.client_pause(300))
    assert sent == taken_from(broker) == all_of()


def test_connections_that_read_by_themselves_are_left_alone(
    open_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reading(Connection):
        """As those are that cache what they were told."""

        def send_packed_command(self, *_: Any, **__: Any) -> None:
            raise AssertionError

        def send_command(self, *words: Any, **options: Any) -> None:
            command = self.pack_command(*words)  # type: ignore[no-untyped-call]
            super().send_packed_command(command, **options)  # type: ignore[no-untyped-call]

    broker = open_redis()
    pool = broker.connection.connection_pool
    with monkeypatch.context() as patch:
        patch.setattr(pool, "cache", {}, raising=False)
        assert broker.stream_opener() is None
    assert broker.stream_opener() is not None
    monkeypatch.setattr(pool, "connection_class", Reading)
    assert broker.stream_opener() is None
    assert sent_by(broker) == taken_from(broker) == all_of()


def test_redis_that_says_nothing_is_told_of(
    open_redis: Any, redis_server: RedisServer
) -> None:
    with Proxy(redis_server.port) as proxy:
        broker = open_redis(port=proxy.port, socket_timeout=0.3)
        broker.queue_size()
        with pytest.raises(BrokerUnavailable, match=r"(?i)timeout"):
            sent_by(broker, happens=proxy.freeze)


def test_redis_that_is_not_there_is_told_of(open_redis: Any) -> None:
    with pytest.raises(BrokerUnavailable, match="localhost:1/0"):
        sent_by(open_redis(port=1))


def test_what_was_sent_before_a_mistake_is_queued_and_given(open_redis: Any) -> None:
    broker = open_redis(max_connections=1)
    streamed = enqueue_all(broker, consignments(broker, happens=fail))
    assert [each.package for each in next(streamed)] == all_of(PORTION)
    with pytest.raises(Mistake):
        next(streamed)
    assert taken_from(broker) == all_of(PORTION)


def test_who_watches_each_command_of_a_client_sees_all(
    open_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = open_redis()
    monkeypatch.setattr(broker.connection, "__class__", type("Own", (Client,), {}))
    assert broker.stream_opener() is None
    assert sent_by(broker) == all_of()


class Counting(Redis):
    """Somebody's own verb for many."""

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        self.counted = getattr(self, "counted", 0) + len(consignments)
        super().enqueue_many(consignments)


def test_somebodys_own_verb_for_many_is_called(open_redis: Any) -> None:
    open_redis()
    broker = Counting("counting")
    assert broker.stream_opener() is None
    assert sent_by(broker) == all_of()
    assert broker.counted == MANY


# ------------------------------------------------------------------------ PostgreSQL


@pytest.fixture
def orm(q_settings: Any) -> Iterator[ORM]:
    q_settings(retry=30)
    broker = ORM("streamed")
    yield broker
    broker.close()


def committed() -> int:
    """As another connection sees it."""
    with connection.copy().cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM django_q_ormq")
        count = int(cursor.fetchone()[0])
        cursor.db.close()
    return count


@on_postgres
@pytest.mark.django_db(transaction=True)
class TestPostgres:
    def test_gets_all_in_order(self, orm: ORM) -> None:
        seen: list[int] = []
        sent = sent_by(orm, happens=lambda: seen.append(committed()))
        assert sent == taken_from(orm) == all_of()
        assert seen == [0]
        assert committed() == MANY

    def test_connection_that_is_lost_loses_and_repeats_nothing(self, orm: ORM) -> None:
        assert sent_by(orm, happens=end_connection) == all_of()
        assert sorted(taken_from(orm), key=int) == all_of()

    def test_what_it_refuses_is_told_of_and_nothing_queued(self, orm: ORM) -> None:
        wrong = [Consignment("a\0b", orm.short_key, uuid.uuid4().hex)]
        with pytest.raises(DataError):
            list(enqueue_all(orm, [*consignments(orm, PORTION), *wrong]))
        assert orm.queue_size() == 0
        assert sent_by(orm, PORTION) == all_of(PORTION)

    def test_what_was_sent_before_a_mistake_is_queued(self, orm: ORM) -> None:
        streamed = enqueue_all(orm, consignments(orm, happens=fail))
        assert [each.package for each in next(streamed)] == all_of(PORTION)
        with pytest.raises(Mistake):
            next(streamed)
        assert taken_from(orm) == all_of(PORTION)

    def test_in_a_transaction_they_come_and_go_with_it(self, orm: ORM) -> None:
        with transaction.atomic():
            assert orm.stream_opener() is None
            assert sent_by(orm) == all_of()
            transaction.set_rollback(True)
        assert orm.stream_opener() is not None
        assert committed() == 0

    def test_that_is_not_there_is_told_of(self, q_settings: Any) -> None:
        gone = connection.settings_dict | {"HOST": "127.0.0.1", "PORT": "1"}
        with added_database(**gone) as alias:
            q_settings(orm=alias)
            with pytest.raises(BrokerUnavailable, match="can't be used"):
                sent_by(ORM("streamed"))

    def test_that_forbids_is_told_of_and_asked_once(self, orm: ORM) -> None:
        orm.queue_size()
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        with (
            added_database(**connection.settings_dict) as other,
            transaction.atomic(using=other),
            connections[other].cursor() as cursor,
        ):
            cursor.execute("LOCK TABLE django_q_ormq IN EXCLUSIVE MODE")
            with pytest.raises(BrokerUnavailable, match="lock timeout"):
                sent_by(orm)
        assert orm.queue_size() == 0

    def test_where_somebodys_code_runs_around_statements_it_finds_them_done(
        self, orm: ORM
    ) -> None:
        counts: list[int] = []

        def wrap(execute: Any, *call: Any) -> Any:
            value = execute(*call)
            counts.append(committed())
            return value

        with connection.execute_wrapper(wrap):
            assert sent_by(orm) == all_of()
        assert counts == [PORTION * PORTIONS, MANY]

    def test_without_autocommit_nothing_is_streamed(self, orm: ORM) -> None:
        transaction.set_autocommit(False)
        try:
            assert orm.stream_opener() is None
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)


@pytest.mark.django_db(transaction=True)
def test_each_database_gets_all(orm: ORM) -> None:
    assert sent_by(orm) == taken_from(orm) == all_of()
    assert get_broker("streamed").lock_size() == MANY
