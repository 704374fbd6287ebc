"""What a task costs, in work that can be counted; how long it takes, a test can't say.

Whoever makes a task cost more statements, commands, calls or system calls sees it here. A bound is a little
above what was counted when it was set: one that is meant to grow is to be raised, and one
that has become smaller to be lowered.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from redis import Redis as Client

from django_q.brokers import get_broker
from django_q.brokers.streams import PORTION
from django_q.conf import get_options
from django_q.models import Task
from django_q.tasks import async_bulk, async_task
from tests.acceptance.counting import (
    at_most,
    calls,
    commands,
    statements,
    system_calls,
)
from tests.acceptance.desk import Desk
from tests.acceptance.traced import BEGIN, END
from tests.servers import RedisServer

ADD = "tests.functions.add"
MANY = 1000
SOME = 100


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
    with statements() as counted:
        async_bulk(ADD, [(number,) for number in range(MANY)])
    most = MANY // PORTION if connection.vendor == "postgresql" else 2
    at_most(most, counted, MANY, "statements")


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


def test_commands_of_tasks_that_are_streamed_in_bulk(redis: RedisServer) -> None:
    with commands(redis) as counted:
        async_bulk(ADD, [(number,) for number in range(MANY)])
    assert counted["evalsha"] + counted["eval"] == MANY // PORTION
    at_most(70, counted, MANY, "commands")


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


@pytest.mark.parametrize(("place", "bound"), [("database", 79_000), ("redis", 76_000)])
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
    at_most(19_500, counted, MANY, "calls of our own functions")


def test_calls_of_tasks_that_are_streamed_in_bulk(redis: RedisServer) -> None:
    with calls() as counted:
        async_bulk(ADD, [(number,) for number in range(MANY)])
    at_most(20_000, counted, MANY, "calls of our own functions")


# ------------------------------------------------------------------ running what waits


@pytest.fixture
def desk(queue: str, q_settings: Any) -> Iterator[Desk]:
    """A worker and a monitor of that queue, where ten batches wait: one has gone through
    their hands.
    """
    q_settings(recycle=0)
    with Desk(get_options()) as desk:
        desk.monitor.setup()
        async_bulk(ADD, ((number,) for number in range(MANY + SOME)))
        desk.give(desk.claim(SOME))
        desk.run(SOME)
        desk.save()
        yield desk
        Task.objects.filter(cluster=queue).delete()


@pytest.mark.every_database
def test_statements_of_tasks_that_run(desk: Desk, queue: str) -> None:
    with statements() as counted:
        for _ in range(MANY // SOME):
            desk.give(desk.claim(SOME))
            desk.run(SOME)
            desk.save()
    assert Task.objects.filter(cluster=queue, success=True).count() == MANY + SOME
    assert get_broker(queue).queue_size() == get_broker(queue).lock_size() == 0
    # A batch is one claim, and one transaction that saves and acknowledges.
    each = {"sqlite": 14, "postgresql": 5, "mysql": 10}[connection.vendor]
    at_most(each * (MANY // SOME), counted, MANY, "statements")


def test_calls_of_a_worker(desk: Desk) -> None:
    desk.give(desk.claim(SOME))
    with calls() as counted:
        desk.run(SOME)
    assert counted["Runner.execute"] == SOME
    at_most(100_000, counted, SOME, "calls of our own functions")


def test_calls_of_a_monitor(desk: Desk) -> None:
    """Whatever the database does, it asks in few statements."""
    desk.give(desk.claim(SOME))
    desk.run(SOME)
    with calls() as counted:
        desk.save()
    assert counted["Record.from_bytes"] == SOME
    at_most(13_300, counted, SOME, "calls of our own functions")


@pytest.fixture
def strace() -> str:
    """Skips on a desk that lacks it; in CI tests/run.py fails then."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("sudo apt install strace")
    tried = subprocess.run(
        [program, "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"nobody may trace here: {tried.stderr.strip()}")
    return program


def test_system_calls_of_a_worker(strace: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    batches = str(MANY // SOME)
    program = [sys.executable, "-m", "tests.acceptance.traced", str(SOME), batches]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([strace, "-o", trace, *program], env=environment, check=True)
    with trace.open() as lines:
        counted = system_calls(lines, str(BEGIN), str(END))
    # The time limit on and off, and the end on its way.
    assert counted["setitimer"] == 2 * MANY
    at_most(3100, counted, MANY, "system calls")
