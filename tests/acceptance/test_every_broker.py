"""On every broker: the whole cluster is killed amid 2,000 tasks, and nothing is lost.

The servers are no part of the cluster and live on. Those of MongoDB, Disque and IronMQ are
the ones of tests/benches, which only speak their protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


class Place(NamedTuple):
    """Where the queue is."""

    settings: dict[str, Any]
    pass_lease: Callable[[], None] = lambda: None
    """For leases that would take too long."""


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
        yield Place({"mongo": server.settings})


@pytest.fixture
def disque() -> Iterator[Place]:
    with DisqueServer() as node:
        yield Place({"disque_nodes": [node.address]})


@pytest.fixture
def ironmq() -> Iterator[Place]:
    def pass_shortest() -> None:
        service.skipped += 31

    with IronServer() as service:
        yield Place({"iron_mq": service.settings}, pass_shortest)


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
    saved = set(first.rows())
    begun, unsaved_ends = len(diary.of("start")), len(diary.of("end")) - len(saved)
    assert DONE <= len(saved) < TASKS
    assert begun <= len(diary.of("end")) + WORKERS

    place.pass_lease()
    second.start()
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
