"""What a task costs, in work that can be counted; how long it takes, a test can't say.

Whoever makes a task cost more statements, commands or calls sees it here. A bound is a little
above what was counted when it was set: one that is meant to grow is to be raised, and one
that has become smaller to be lowered.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from redis import Redis as Client

import django_q
from django_q.brokers import get_broker
from django_q.tasks import async_bulk, async_task
from tests.acceptance.apps import summary
from tests.servers import RedisServer

ADD = "tests.functions.add"
MANY = 1000
SOME = 100
OURS = str(Path(django_q.__file__).parent)


def at_most(bound: float, counted: Counter[str], tasks: int, what: str) -> None:
    """For a thousand tasks; who fails says what there was, the most frequent first."""
    each = 1000 / tasks
    total = counted.total() * each
    shown = ", ".join(f"{n * each:g} {name}" for name, n in counted.most_common(12))
    assert total <= bound, (
        f"{total:g} {what} for 1,000 tasks, at most {bound:g} are meant: {shown}"
    )


@contextmanager
def statements() -> Iterator[Counter[str]]:
    """The statements that this process gives to the database meanwhile."""
    counted: Counter[str] = Counter()

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        counted[summary(sql)] += 1
        return execute(sql, *rest)

    # What a new connection says first is nobody's cost here.
    connection.ensure_connection()
    with connection.execute_wrapper(count):
        yield counted


@contextmanager
def calls() -> Iterator[Counter[str]]:
    """The calls of our own functions in this thread meanwhile."""
    counted: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _what: Any) -> None:
        code = frame.f_code
        # What stands in brackets is a call of its own before Python 3.12.
        is_ours = code.co_filename.startswith(OURS) and "<" not in code.co_name
        if event == "call" and is_ours:
            counted[code.co_qualname] += 1

    usual = sys.getprofile()
    sys.setprofile(note)
    try:
        yield counted
    finally:
        sys.setprofile(usual)


@contextmanager
def commands(server: RedisServer) -> Iterator[Counter[str]]:
    """What Redis does meanwhile: all that it is asked, and what its scripts do."""
    counted: Counter[str] = Counter()
    with Client.from_url(server.url) as client:
        client.config_resetstat()
        yield counted
        for name, facts in client.info("commandstats").items():
            counted[name.removeprefix("cmdstat_")] += facts["calls"]
    for own in ("config|resetstat", "info"):
        counted.pop(own, None)


@pytest.fixture
def queue(q_settings: Any) -> Iterator[str]:
    """The name of a queue in the database."""
    name = f"q{uuid4().hex[:8]}"
    q_settings(cluster_name=name)
    yield name
    get_broker(name).delete_queue()


@pytest.fixture
def redis(redis_server: RedisServer, q_settings: Any) -> Iterator[RedisServer]:
    """The queue is in Redis, and the connection is open."""
    q_settings(orm=None, redis=redis_server.url)
    async_task(ADD)
    yield redis_server
    with Client.from_url(redis_server.url) as client:
        client.flushdb()


# ------------------------------------------------------------------ putting on a queue


@pytest.mark.every_database
def test_statements_of_tasks_that_are_queued_one_by_one(queue: str) -> None:
    with statements() as counted:
        for number in range(SOME):
            async_task(ADD, number)
    at_most(1000, counted, SOME, "statements")


@pytest.mark.every_database
def test_statements_of_tasks_that_are_queued_in_bulk(queue: str) -> None:
    with statements() as counted:
        async_bulk(ADD, ((number,) for number in range(MANY)))
    at_most(2, counted, MANY, "statements")


def test_commands_of_tasks_that_are_queued_one_by_one(redis: RedisServer) -> None:
    with commands(redis) as counted:
        for number in range(SOME):
            async_task(ADD, number)
    assert counted["evalsha"] == SOME
    at_most(6000, counted, SOME, "commands")


def test_commands_of_tasks_that_are_queued_in_bulk(redis: RedisServer) -> None:
    with commands(redis) as counted:
        async_bulk(ADD, ((number,) for number in range(MANY)))
    assert counted["evalsha"] == 1
    at_most(12, counted, MANY, "commands")


def test_commands_of_tasks_that_are_fetched_and_acknowledged(
    redis: RedisServer,
) -> None:
    async_bulk(ADD, ((number,) for number in range(MANY)))
    broker = get_broker()
    broker.enlist("cluster", 60)
    with commands(redis) as counted:
        taken = broker.dequeue(MANY) or []
    assert counted["evalsha"] == 1
    at_most(350, counted, MANY, "commands")
    with commands(redis) as counted:
        broker.acknowledge_many([str(delivery.receipt) for delivery in taken])
    assert counted["evalsha"] == 1
    at_most(200, counted, MANY, "commands")


@pytest.mark.parametrize(("place", "bound"), [("database", 75_000), ("redis", 71_000)])
def test_calls_of_a_task_that_is_queued(
    request: pytest.FixtureRequest, place: str, bound: int
) -> None:
    request.getfixturevalue("queue" if place == "database" else place)
    async_task(ADD)
    with calls() as counted:
        async_task(ADD)
    at_most(bound, counted, 1, "calls of our own functions")


def test_calls_of_tasks_that_are_queued_in_bulk(redis: RedisServer) -> None:
    with calls() as counted:
        async_bulk(ADD, ((number,) for number in range(MANY)))
    at_most(27_000, counted, MANY, "calls of our own functions")
