"""Streams: many packages are sent on while the server queues those before them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import DataError, connection, transaction
from redis import Redis as Client

from django_q.brokers import Broker, Consignment, get_broker
from django_q.brokers.orm import ORM
from django_q.brokers.redis_broker import Redis
from django_q.brokers.streams import PORTION, PORTIONS, enqueue_all
from django_q.exceptions import BrokerError, BrokerUnavailable
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
    assert broker.open_stream() is not None
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
    assert broker.open_stream() is None
    assert sent_by(broker) == all_of()


class Counting(Redis):
    """Somebody's own verb for many."""

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        self.counted = getattr(self, "counted", 0) + len(consignments)
        super().enqueue_many(consignments)


def test_somebodys_own_verb_for_many_is_called(open_redis: Any) -> None:
    open_redis()
    broker = Counting("counting")
    assert broker.open_stream() is None
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
            assert orm.open_stream() is None
            assert sent_by(orm) == all_of()
            transaction.set_rollback(True)
        assert orm.open_stream() is not None
        assert committed() == 0

    def test_without_autocommit_nothing_is_streamed(self, orm: ORM) -> None:
        transaction.set_autocommit(False)
        try:
            assert orm.open_stream() is None
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)


@pytest.mark.django_db(transaction=True)
def test_each_database_gets_all(orm: ORM) -> None:
    assert sent_by(orm) == taken_from(orm) == all_of()
    assert get_broker("streamed").lock_size() == MANY
