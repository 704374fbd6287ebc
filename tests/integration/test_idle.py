"""What an idle cluster asks of its servers, counted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import CaptureQueriesContext
from redis import Redis as Client

from django_q import outbox
from django_q.brokers.memory import Memory
from django_q.brokers.redis_broker import Redis
from django_q.brokers.redis_keys import beside
from django_q.brokers.redis_looks import SELDOM
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.management.commands.qcluster import (
    missing_migrations,
    refuse_to_start_unready,
)
from tests.servers import RedisServer

LOOKS = 2 * SELDOM
Pair = tuple[Redis, Redis]


@pytest.fixture
def brokers(redis_server: RedisServer, q_settings: Any) -> Iterator[Pair]:
    """One of an idle cluster, and somebody else's."""
    q_settings(redis={"port": redis_server.port}, orm=None)
    queue = f"idle-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        idle, other = (stack.enter_context(closing(Redis(queue))) for _ in range(2))
        idle.enlist(uuid.uuid4().hex, 0.0)
        assert idle.dequeue(5) == []
        assert not idle.has_news()
        yield idle, other


def test_looks_at_redis_are_a_command_each(
    brokers: Pair, redis_server: RedisServer
) -> None:
    idle, _other = brokers
    with Client.from_url(redis_server.url) as client:

        def count() -> int:
            return int(client.info("stats")["total_commands_processed"])

        before = count()
        for _ in range(LOOKS):
            assert not idle.has_news()
            assert not idle.may_miss()
            assert idle.rescue() == []
        # Leavings are looked for seldom, under three keys; to count is a command, too, and
        # on a slow machine Redis is asked anew to call.
        assert count() - before <= 2 * LOOKS + 3 * (LOOKS // SELDOM) + 5


def test_what_others_delay_is_not_missed(brokers: Pair) -> None:
    idle, other = brokers
    assert not idle.may_miss()
    other.enqueue("package", delay=60)
    assert not idle.has_news()
    assert idle.may_miss()
    other.enqueue("package", delay=90)
    assert not idle.may_miss()
    other.enqueue("package", delay=30)
    assert idle.may_miss()


def test_slots_that_are_over_are_forgotten_where_there_is_one_cluster(
    brokers: Pair, redis_server: RedisServer
) -> None:
    idle, _other = brokers
    with Client.from_url(redis_server.url) as client:
        sent = beside(idle.list_key, "sent")
        client.zadd(sent, {"slot": 1})
        for _ in range(SELDOM):
            idle.rescue()
        assert not client.exists(sent)


@pytest.mark.django_db
def test_looking_whether_a_cluster_can_start_leaves_no_connection_to_its_forks(
    redis_server: RedisServer, q_settings: Any
) -> None:
    q_settings(redis={"port": redis_server.port}, orm=None)
    with Client.from_url(redis_server.url) as client:
        before = {each["id"] for each in client.client_list()}
        refuse_to_start_unready()
        after = {each["id"] for each in client.client_list()}
        assert after <= before


@pytest.mark.django_db
@pytest.mark.parametrize(
    "look",
    [
        outbox.is_quiet,
        lambda: Scheduler(get_options(), Memory("idle"), "idle").rest() is None,
    ],
)
def test_look_that_finds_nothing_is_one_query(look: Callable[[], bool]) -> None:
    with CaptureQueriesContext(connections["default"]) as seen:
        assert look()
    assert len(seen) == 1


@pytest.mark.django_db
def test_names_of_migrations_tell_whether_one_is_missing() -> None:
    recorder = MigrationRecorder(connections["default"])
    with CaptureQueriesContext(connections["default"]) as seen:
        assert missing_migrations("default") == []
    assert len(seen) <= 2
    last = max(name for app, name in recorder.applied_migrations() if app == "django_q")
    recorder.record_unapplied("django_q", last)
    assert missing_migrations("default") == [last]
