"""On every broker: a machine dies amid 2,000 tasks, nothing is lost, and what it held runs
on another one within the time that docs/reliability.rst promises.

The servers are no part of the cluster and live on. Those of MongoDB, Disque and IronMQ are
the ones of tests/benches, which only speak their protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from django.db.models import QuerySet
from redis import Redis as Client

from django_q.models import Task
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.benches.disque_server import DisqueServer
from tests.benches.iron_server import IronServer
from tests.benches.mongo_server import MongoServer
from tests.servers import RedisServer, SqsServer
from tests.waiting import wait_until

TASKS = 2000
DONE = 500
"""So many are done, or a few more, when everything is killed."""

WORKERS = 2
LEASE = 3
"""Seconds; also for servers that bring back by themselves what nobody has finished."""

SLACK = 5
"""Seconds that recovery may take beyond the lease."""


class Place(NamedTuple):
    """Where the queue is."""

    settings: dict[str, Any]
    wait: float = LEASE
    """Seconds, at most, until what a dead machine held may be taken by others."""

    end_leases: Callable[[float], None] | None = None
    """Ends those made before a moment, where they would take too long; `wait` begins then."""


class OnBroker(RunningCluster):
    """Knows its rows, also those of one that was killed."""

    def rows(self) -> QuerySet[Task, str]:
        """The ids of its tasks that have a row."""
        return Task.objects.filter(cluster=self.queue).values_list("id", flat=True)


@pytest.fixture
def orm() -> Place:
    return Place({"orm": "default"})


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator[Place]:
    yield Place({"redis": redis_server.url})
    with Client.from_url(redis_server.url) as client:
        client.flushdb()


@pytest.fixture
def sqs(sqs_server: SqsServer) -> Place:
    return Place({"sqs": sqs_server.settings})


@pytest.fixture
def mongo() -> Iterator[Place]:
    with MongoServer(replica_set="rs0") as server:
        # One lease until it is over, and one of whoever frees it.
        yield Place({"mongo": server.settings}, wait=2 * LEASE)


@pytest.fixture
def disque() -> Iterator[Place]:
    with DisqueServer() as node:
        yield Place({"disque_nodes": [node.address]})


@pytest.fixture
def ironmq() -> Iterator[Place]:
    with IronServer() as service:
        ending = service.end_reservations
        yield Place({"iron_mq": service.settings}, wait=0, end_leases=ending)


ON_DATABASE = pytest.param("orm", marks=pytest.mark.every_database)


BESIDE = [
    pytest.param(name, marks=pytest.mark.once)
    for name in ("redis", "sqs", "mongo", "disque", "ironmq")
]


@pytest.fixture(params=[ON_DATABASE, *BESIDE])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def test_all_tasks_are_done_although_everything_is_killed_in_the_middle(
    place: Place, new_cluster: Runner, diary: Diary, q_settings: Any
) -> None:
    settings = {"orm": None, "retry": LEASE, **place.settings}
    q_settings(**settings)
    settings |= {"cluster_name": f"killed-{uuid4().hex[:6]}", "workers": WORKERS}
    first, second = (new_cluster(kind=OnBroker, **settings) for _ in range(2))
    assert isinstance(first, OnBroker)
    ids = first.send_many(TASKS, functions.log_and_sleep, diary.path, 0.001)
    assert len(set(ids)) == TASKS

    first.start()
    wait_until(lambda: first.rows().count() >= DONE, within=60)
    first.kill_everything()
    died = monotonic()
    saved = set(first.rows())
    begun, unsaved_ends = len(diary.of("start")), len(diary.of("end")) - len(saved)
    assert DONE <= len(saved) < TASKS
    assert begun <= len(diary.of("end")) + WORKERS
    held = {ids[int(word[1:])] for word in diary.of("start")} - saved

    before = monotonic()
    second.on_host("another").start()
    if place.end_leases is not None:
        wait_until(lambda: second.says("ready for work"))
        # Not those of the second one, who would be right to keep to them.
        place.end_leases(before)
        died = monotonic()

    def what_it_held_has_run() -> bool:
        return held <= set(first.rows())

    wait_until(what_it_held_has_run, died + place.wait + SLACK - monotonic())
    wait_until(lambda: first.rows().count() >= TASKS, within=90)
    wait_until(second.queue_is_empty)
    assert sorted(first.rows()) == sorted(ids)
    assert first.rows().filter(success=True).count() == TASKS
    starts = diary.of("start")
    assert set(starts) == {f"w{n}" for n in range(TASKS)}
    again = {ids[int(word[1:])] for word, times in starts.items() if times > 1}
    assert len(again - saved) <= 2 * WORKERS + unsaved_ends
    assert not again & saved, "what has a row is removed, not repeated"
    assert second.stop() == 0
