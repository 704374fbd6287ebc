"""Which setting chooses which broker."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Any

import pytest

from django_q.brokers import Broker, Consignment, get_broker
from django_q.brokers.memory import Memory
from django_q.brokers.registry import choose
from django_q.exceptions import ConfigurationError
from django_q.options import Options


def test_own_class_wins(q_settings: Any):
    q_settings(broker_class="django_q.brokers.memory.Memory", orm="default")
    broker = get_broker("mine")
    assert isinstance(broker, Memory)
    assert broker.list_key == "mine"


def test_queue_is_that_of_the_cluster_unless_named(q_settings: Any):
    q_settings(broker_class="django_q.brokers.memory.Memory", cluster_name="fast")
    assert get_broker().list_key == "fast"


def test_settings_win_in_the_promised_order():
    everything: dict[str, Any] = {
        "disque_nodes": ["localhost:7711"],
        "iron_mq": {"host": "x"},
        "sqs": {},
        "orm": "default",
        "mongo": {"host": "x"},
        "redis": {},
    }
    chosen = []
    while everything:
        chosen.append(choose(Options(**everything)).setting)
        del everything[chosen[-1]]
    assert chosen == ["disque_nodes", "iron_mq", "sqs", "orm", "mongo", "redis"]
    assert choose(Options()).setting == "redis"


def test_without_any_setting_it_is_redis_on_localhost(q_settings: Any):
    q_settings(orm=None)
    with closing(get_broker("mine")) as broker:
        assert (
            broker.connection.connection_pool.connection_kwargs["host"] == "localhost"
        )
        assert broker.list_key == "django_q:mine:q"


def test_client_library_that_is_not_installed_is_named(
    q_settings: Any, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if ".redis_" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    q_settings(orm=None)
    with pytest.raises(ConfigurationError, match="needs the package 'redis'") as caught:
        get_broker()
    assert 'pip install "django-q3[redis]"' in str(caught.value)
    assert 'Q_CLUSTER = {"orm": "default"}' in str(caught.value)


def test_extra_that_has_another_name_than_its_library_is_named(
    q_settings: Any, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if "sqs" in name or name == "boto3"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    q_settings(orm=None, sqs={})
    with pytest.raises(ConfigurationError, match="needs the package 'boto3'") as caught:
        get_broker()
    assert 'pip install "django-q3[sqs]"' in str(caught.value)


def test_library_of_mongodb_is_named(q_settings: Any, monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if "mongo" in name or "bson" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymongo", None)
    q_settings(orm=None, mongo={"host": "x"})
    with pytest.raises(
        ConfigurationError, match="needs the package 'pymongo'"
    ) as caught:
        get_broker()
    assert 'pip install "django-q3[mongo]"' in str(caught.value)


def test_class_that_cannot_be_imported_is_named(q_settings: Any):
    q_settings(broker_class="shop.brokers.Own")
    with pytest.raises(ConfigurationError, match=r"'shop\.brokers\.Own'"):
        get_broker()


class Plain(Broker):
    """The least that a broker of users may be: no receipts, no keywords, plain pairs."""

    def enqueue(self, package: str) -> None:  # type: ignore[override]
        QUEUES.setdefault(self.list_key, []).append(package)


QUEUES: dict[str, list[str]] = {}


def test_packages_for_several_queues_reach_them_on_the_plainest_broker(q_settings: Any):
    q_settings(broker_class=f"{__name__}.Plain")
    broker = get_broker("a")
    queued = [("1", "a", None), ("2", "b", "id"), ("3", "a", None)]
    broker.enqueue_many([Consignment(*fields) for fields in queued])
    assert QUEUES.pop("a") == ["1", "3"]
    assert QUEUES.pop("b") == ["2"]


def test_verbs_of_the_base_do_nothing_and_may_be_called():
    broker = Broker("nothing")
    assert broker.dequeue() is None
    assert broker.enqueue("x") is None
    assert broker.acknowledge_many(["r"]) == {"r"}
    assert (broker.queue_size(), broker.lock_size()) == (0, 0)
    assert broker.ping()
    assert broker.info() == "Broker"
    for verb in (broker.fail, broker.delete):
        assert verb("r") is None
    broker.purge_queue()
    broker.delete_queue()
    broker.close()
    assert broker.next_due() is None
    assert broker.news_fd() is None
    assert broker.redeliver("r") is None
    assert broker.held() == []
    assert broker.rescue() == []
    assert broker.renew(["r"]) == {"r"}
    assert broker.release(["r"]) == {"r"}
    broker.enlist("c", 1)
    broker.mark_started(["r"])
    assert broker.has_news()
    assert broker.pulse() > 0
