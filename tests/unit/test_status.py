"""Stat and Status: what a cluster says of itself, written and read."""

from __future__ import annotations

import pickle
import socket
from datetime import timedelta
from queue import Queue
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.cache import cache
from django.utils.translation import override

from django_q.brokers import Broker
from django_q.clock import now
from django_q.conf import Conf, get_options
from django_q.signing import SignedPackage
from django_q.status import Stat, Status


@pytest.fixture
def broker(db: None) -> Broker:
    """A broker that has no place of its own for vital signs, as those of projects."""
    cache.clear()
    return Broker("tests")


def stat(**vitals: Any) -> Stat:
    return Stat.of(cluster_id=uuid4(), pid=31781, **vitals)


def test_unknown_cluster_has_stopped(broker: Broker) -> None:
    status = Stat.get(4821, uuid4(), broker)

    assert type(status) is Status
    assert status.status == Conf.STOPPED
    assert status.pid == 4821
    assert status.host == socket.gethostname()
    assert status.workers == []
    assert status.uptime() == 0
    assert status.empty_queues()


def test_vital_signs_come_back_as_they_were(broker: Broker) -> None:
    tob = now() - timedelta(seconds=90)
    written = stat(
        host="orion",
        status="Working",
        tob=tob,
        sentinel=2,
        monitor=3,
        pusher=4,
        workers=(5, 6),
        task_q_size=7,
        task_q_limit=16,
        done_q_size=8,
        reincarnations=9,
        busy=1,
        name="shop",
        queue="mail",
        version="1.0.0",
    )
    written.save(broker)

    read = Stat.get(31781, written.cluster_id, broker)

    assert type(read) is Stat
    assert vars(read) == vars(written)
    assert read.workers == [5, 6]
    assert 90 <= read.uptime() < 100
    assert not read.empty_queues()
    assert read.title == "shop-orion-31781"


def test_all_clusters_of_the_site_are_found(broker: Broker) -> None:
    assert Stat.get_all(broker) == []
    stats = [stat(), stat()]
    for each in stats:
        each.save(broker)

    found = Stat.get_all(broker)

    assert {s.cluster_id for s in found} == {s.cluster_id for s in stats}


def test_vital_signs_are_forgotten_when_they_are_not_renewed(broker: Broker) -> None:
    stat().publish(broker, 0)

    assert Stat.get_all(broker) == []


def test_forged_vital_signs_are_none(broker: Broker) -> None:
    forged = stat()
    broker.set_stat(forged.key, "not:a:package", 3)
    genuine = stat()
    genuine.save(broker)

    assert Stat.get(31781, forged.cluster_id, broker) is None
    assert [s.cluster_id for s in Stat.get_all(broker)] == [genuine.cluster_id]


class Later:
    """What a release to come may put into its vital signs."""


def test_vital_signs_that_this_release_cannot_read_are_skipped(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = stat()
    strange.name = Later()  # type: ignore[assignment]
    strange.save(broker)
    monkeypatch.delattr(f"{__name__}.Later")

    assert Stat.get_all(broker) == []


def test_key_is_that_of_the_earlier_releases(q_settings: Any) -> None:
    q_settings(name="shop")
    cluster_id = UUID(int=7)

    key = f"django_q:shop:cluster:{cluster_id}"

    assert Stat.get_key(cluster_id) == key
    assert Stat.of(cluster_id=cluster_id, pid=1).key == key


def test_class_is_pickled_under_its_public_path() -> None:
    written = pickle.dumps(stat())

    assert b"django_q.status" in written
    assert type(pickle.loads(written)) is Stat


def test_vital_signs_of_an_older_release_lack_the_newer_ones() -> None:
    old = stat(status=Conf.IDLE)
    for name in ("busy", "queue", "name", "version", "task_q_limit"):
        vars(old).pop(name, None)

    read = SignedPackage.loads(SignedPackage.dumps(old, True))

    assert (read.busy, read.queue, read.task_q_limit) == (None, None, None)
    assert read.title == f"{get_options().name}-{read.host}-31781"


@pytest.mark.parametrize("word", ["Starting", "Working", "Idle", "Stopped", "Stopping"])
def test_state_is_a_translated_word(word: str) -> None:
    published = SignedPackage.loads(SignedPackage.dumps(stat(status=word)))

    assert published.status == getattr(Conf, word.upper())
    with override("de"):
        assert published.status == getattr(Conf, word.upper())
        assert published.state == word.lower()


def test_id_is_a_uuid_also_when_it_comes_as_text() -> None:
    cluster_id = uuid4()

    made = Stat.of(cluster_id=cluster_id.hex, pid=1)

    assert made.cluster_id == cluster_id
    assert made.key.endswith(str(cluster_id))


def test_from_a_sentinel() -> None:
    cluster_id = uuid4()
    sentinel = SimpleNamespace(
        parent_pid=1,
        pid=2,
        cluster_id=cluster_id,
        tob=now(),
        status=lambda: Conf.IDLE,
        reincarnations=3,
        monitor=SimpleNamespace(pid=4),
        pusher=SimpleNamespace(pid=5),
        pool=[SimpleNamespace(pid=6), SimpleNamespace(pid=7)],
        task_queue=Queue[int](),
        result_queue=Queue[int](),
    )

    made = Stat(sentinel)

    assert (made.pid, made.cluster_id, made.sentinel) == (1, cluster_id, 2)
    assert (made.monitor, made.pusher, made.workers) == (4, 5, [6, 7])
    assert made.status == Conf.IDLE
    assert made.reincarnations == 3
    assert made.empty_queues()


def test_from_a_sentinel_without_queues_of_its_own() -> None:
    sentinel = SimpleNamespace(
        cluster_id=uuid4(), status=lambda: Conf.STARTING, reincarnations=0, pool=[]
    )

    made = Stat(sentinel)

    assert made.status == Conf.STARTING
    assert (made.monitor, made.task_q_size, made.workers) == (0, 0, [])
