"""Chains whose queue and results are apart: an end that is saved twice continues them once."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import pytest

from django_q import results
from django_q.brokers import Broker, Delivery, get_broker
from django_q.clock import now
from django_q.cluster.frames import Report
from django_q.cluster.lines import Line
from django_q.cluster.monitoring import Ended, Monitor
from django_q.cluster.roles import Identity
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.exceptions import BrokerUnavailable
from django_q.models import Task
from django_q.outcome import Outcome
from django_q.tasks import async_task
from tests.aliases import added_database
from tests.functions import add
from tests.servers import RedisServer
from tests.unit.cluster.making import make_launch

pytestmark = pytest.mark.django_db(transaction=True)

CHAIN = {"chain": [(add, (2,))]}


class Cluster:
    """A cluster as far as it matters here: its broker, its worker's ends, its monitor."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self._lines = Line.pair()
        identity = Identity(self.id, "tests-host-1", "host", 1, now().isoformat())
        facts = {"identity": identity, "options": get_options()}
        self.monitor = Monitor(make_launch("monitor", self._lines[0], **facts))
        self.monitor.setup()
        self.broker: Broker = self.monitor.broker

    def takes(self) -> Delivery:
        (delivery,) = self.broker.dequeue(count=1) or []
        return delivery

    def ends(self, delivery: Delivery, **facts: Any) -> list[Ended]:
        """The worker has run it."""
        envelope = Envelope.open(delivery.package)
        facts = {"success": True, "result": 1, "stopped": now(), **facts}
        outcome = Outcome(envelope=envelope, **facts)
        _, record = results.conclude(outcome, get_options())
        report = Report(1, str(delivery.receipt), False, record.to_bytes())
        return [Ended(1, report, record)]

    def runs(self) -> str:
        """It takes the next task, which ends, and is saved and acknowledged."""
        ended = self.ends(self.takes())
        assert not self.monitor.save(ended)
        return ended[0].record.id

    def close(self) -> None:
        self.monitor.teardown()
        self.monitor.control.close()
        self._lines[1].close()


@pytest.fixture(params=["redis", "another database"])
def clusters(
    request: pytest.FixtureRequest, q_settings: Any
) -> Iterator[tuple[Cluster, Cluster]]:
    """Two clusters of one queue, which is not where the results are."""
    q_settings(cluster_name=f"q{uuid.uuid4().hex[:8]}")
    with added_database() as alias:
        q_settings(orm=alias)
        if request.param == "redis":
            server: RedisServer = request.getfixturevalue("redis_server")
            q_settings(orm=None, redis=server.url)
        both = Cluster(), Cluster()
        yield both
        get_broker().delete_queue()
        for cluster in both:
            cluster.close()


def failing(verb: Callable[..., Any], *, done: bool) -> Callable[..., NoReturn]:
    """The broker does it, or not, and its answer is lost."""

    def fail(*words: Any) -> NoReturn:
        if done:
            verb(*words)
        raise BrokerUnavailable("It hung up.")

    return fail


def fails_once(
    cluster: Cluster, verb: str, ended: Sequence[Ended], **how: bool
) -> None:
    """The monitor is to save this, and the broker fails it there."""
    with pytest.MonkeyPatch.context() as patch, suppress(BrokerUnavailable):
        patch.setattr(
            cluster.broker, verb, failing(getattr(cluster.broker, verb), **how)
        )
        cluster.monitor.save(ended)
        raise AssertionError("that did not fail")


def test_end_that_comes_late_does_not_continue_what_others_have_continued(
    clusters: tuple[Cluster, Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    paused, other = clusters
    caplog.set_level(logging.INFO, "django-q")
    task_id = async_task(add, 1, q_options=CHAIN)
    late = paused.takes()
    assert other.broker.rescue_from(paused.id)
    assert other.runs() == task_id
    link = other.runs()
    assert paused.monitor.save(paused.ends(late)) == {late.receipt}
    assert other.broker.queue_size() == 0
    assert Task.objects.get(pk=link).success
    [said] = [m for m in caplog.messages if "has gone on before" in m]
    assert Task.objects.get(pk=task_id).name in said


@pytest.mark.parametrize("done", [True, False], ids=["done", "undone"])
def test_end_that_is_saved_again_does_not_continue_it_again(
    clusters: tuple[Cluster, Cluster], done: bool
) -> None:
    ours, other = clusters
    async_task(add, 1, q_options=CHAIN)
    ended = ours.ends(ours.takes())
    fails_once(ours, "acknowledge_many", ended, done=done)
    other.runs()
    ours.monitor.save(ended)
    assert other.broker.queue_size() == other.broker.lock_size() == 0


def test_next_task_that_was_not_queued_is_queued_when_the_end_is_saved_again(
    clusters: tuple[Cluster, Cluster],
) -> None:
    ours, other = clusters
    task_id = async_task(add, 1, q_options=CHAIN)
    ended = ours.ends(ours.takes())
    fails_once(ours, "enqueue_many", ended, done=False)
    assert Task.objects.filter(pk=task_id).exists()
    ours.monitor.save(ended)
    assert other.runs() == ended[0].record.link_id


def test_others_have_failed_and_the_late_success_continues_the_chain(
    clusters: tuple[Cluster, Cluster],
) -> None:
    paused, other = clusters
    task_id = async_task(add, 1, q_options=CHAIN)
    late = paused.takes()
    other.broker.rescue_from(paused.id)
    other.monitor.save(other.ends(other.takes(), success=False))
    assert not Task.objects.get(pk=task_id).success
    paused.monitor.save(paused.ends(late))
    assert other.broker.queue_size() == 1


def test_chain_that_is_queued_anew_under_its_id_runs_anew(
    clusters: tuple[Cluster, Cluster],
) -> None:
    """Whatever the clocks say: the rows are of the first time."""
    ours, _ = clusters
    options = {"task_id": uuid.uuid4(), **CHAIN}
    async_task(add, 1, q_options=options)
    first = [ours.runs(), ours.runs()]
    Task.objects.filter(pk=first[1]).update(started=now().replace(year=2999))
    async_task(add, 1, q_options=options)
    assert [ours.runs(), ours.runs()] == first


def test_many_chains_are_looked_up_at_once_and_others_not_at_all(
    clusters: tuple[Cluster, Cluster], django_assert_num_queries: Any
) -> None:
    ours, _ = clusters
    async_task(add, 1, q_options=CHAIN)
    [ended] = ours.ends(ours.takes())
    many = [ended.record._replace(id=uuid.uuid4().hex) for _ in range(100)]
    with django_assert_num_queries(1):
        assert results.unqueued(many, using="default") == many
    plain = [record._replace(link=None, link_id=None) for record in many]
    with django_assert_num_queries(0):
        assert results.unqueued(plain, using="default") == plain
