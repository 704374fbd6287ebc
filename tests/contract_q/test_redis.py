"""The default broker: names on the wire, settings, and what others do with its list."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from django.core.cache import caches

from django_q.brokers import get_broker
from django_q.brokers.redis_broker import Redis
from django_q.envelope import Envelope
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.signing import SignedPackage
from django_q.status import Stat
from django_q.tasks import async_task, fetch_cached, queue_size, result_cached
from tests.servers import RedisServer, free_port
from tests.waiting import wait_until

LIST = "django_q:shop:q"
Use = Callable[..., Redis]


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """Somebody who knows the names of the keys, and nothing of this package."""
    with redis.Redis.from_url(redis_server.url) as client:
        yield client
        client.flushdb()


@pytest.fixture
def use(q_settings: Any) -> Iterator[Use]:
    """The broker that `get_broker` gives with these settings."""
    used: list[Redis] = []

    def get(**settings: Any) -> Redis:
        q_settings(orm=None, name="site", cluster_name="shop", **settings)
        broker = get_broker()
        assert isinstance(broker, Redis)
        used.append(broker)
        return broker

    yield get
    for broker in used:
        with suppress(BrokerError):
            broker.close()


@pytest.fixture
def broker(use: Use, redis_server: RedisServer, client: Any) -> Redis:
    return use(redis=redis_server.url)


def task() -> Envelope:
    return Envelope.from_call("tests.functions.add", (20, 22), {}, {})


# -- the list


def test_list_key_is_the_full_key_of_the_queue(broker: Redis) -> None:
    assert broker.list_key == LIST
    assert Redis("other").list_key == "django_q:other:q"
    assert get_broker("other").list_key == "django_q:other:q"


def test_pickled_it_keeps_its_key_and_its_information(broker: Redis) -> None:
    about = broker.info()
    copy = pickle.loads(pickle.dumps(broker))
    assert broker.__getstate__() == (LIST, about)
    assert (copy.list_key, copy.info()) == (LIST, about)
    assert copy.connection is not broker.connection
    copy.close()


def test_tasks_are_pushed_to_the_end_of_the_list_as_they_are(
    broker: Redis, client: Any
) -> None:
    client.rpush(LIST, "older")
    package = task().seal()
    broker.enqueue(package)
    assert client.lrange(LIST, 0, -1) == [b"older", package.encode()]


def test_async_task_pushes_a_package_that_an_older_consumer_pops_and_reads(
    broker: Redis, client: Any
) -> None:
    task_id = async_task("tests.functions.add", 1, 2, broker=broker)
    key, package = client.blpop([LIST], 1)
    assert key.decode() == LIST
    assert SignedPackage.loads(package)["id"] == task_id


def test_package_of_an_older_producer_is_handed_out_as_it_is(
    broker: Redis, client: Any
) -> None:
    package = task().seal()
    client.rpush(LIST, package)
    [(receipt, came)] = broker.dequeue() or []
    assert receipt
    assert came == package


def test_length_of_the_list_is_the_size_of_the_queue(
    broker: Redis, client: Any
) -> None:
    for number in range(3):
        broker.enqueue(str(number))
        assert broker.queue_size() == client.llen(LIST) == number + 1
    broker.dequeue(2)
    assert broker.queue_size() == queue_size(broker) == client.llen(LIST) == 1


def test_broker_id_is_the_length_of_the_list_where_the_task_has_none(
    broker: Redis,
) -> None:
    assert [broker.enqueue("a"), broker.enqueue("b")] == [1, 2]


@pytest.mark.parametrize("verb", ["purge_queue", "delete_queue"])
def test_no_key_is_left_of_a_queue_that_nobody_serves(
    broker: Redis, client: Any, verb: str
) -> None:
    broker.enqueue("a", task_id="a")
    broker.enqueue("b", delay=60)
    getattr(broker, verb)()
    assert client.keys("django_q:shop:*") == []


def test_emptied_by_others_the_queue_is_empty(broker: Redis, client: Any) -> None:
    broker.enqueue("a", task_id="a")
    client.ltrim(LIST, 1, 0)
    assert broker.queue_size() == 0
    assert broker.dequeue() == []


def test_one_package_is_taken_at_a_time_unless_bulk_says_more(broker: Redis) -> None:
    for number in range(3):
        broker.enqueue(str(number))
    assert len(broker.dequeue()) == 1


# -- connection


def where(broker: Redis) -> dict[str, Any]:
    kwargs: dict[str, Any] = broker.connection.connection_pool.connection_kwargs
    return kwargs


def test_without_settings_it_is_localhost(use: Use) -> None:
    kwargs = where(use())
    assert (kwargs["host"], kwargs["port"], kwargs["db"]) == ("localhost", 6379, 0)


def test_dictionary_becomes_keywords_of_the_client(use: Use) -> None:
    given = {
        "host": "cache",
        "port": 1,
        "db": 2,
        "password": "p",
        "health_check_interval": 7,
    }
    broker = use(redis=given)
    assert type(broker.connection) is redis.StrictRedis
    assert given.items() <= where(broker).items()


def test_text_is_a_url(use: Use) -> None:
    kwargs = where(use(redis="redis://me:p@cache:1/2?health_check_interval=7"))
    assert (kwargs["host"], kwargs["port"], kwargs["db"]) == ("cache", 1, 2)
    assert (kwargs["username"], kwargs["password"]) == ("me", "p")
    assert kwargs["health_check_interval"] == 7


def test_socket_and_tls_are_urls_too(use: Use) -> None:
    assert where(use(redis="unix:///run/redis.sock?db=2"))["path"] == "/run/redis.sock"
    secure = use(redis="rediss://cache").connection.connection_pool
    assert secure.connection_class is redis.SSLConnection


def test_connections_of_a_django_redis_cache_win(
    use: Use, redis_server: RedisServer, settings: Any
) -> None:
    backend = "django_redis.cache.RedisCache"
    cache = {"BACKEND": backend, "LOCATION": redis_server.url.replace("/0", "/3")}
    settings.CACHES = {**settings.CACHES, "queue": cache}
    broker = use(django_redis="queue", redis={"host": "nowhere"})
    assert broker.enqueue("a") == 1
    assert where(broker)["db"] == 3
    shared: Any = caches["queue"]
    assert (
        broker.connection.connection_pool is shared.client.get_client().connection_pool
    )
    broker.delete_queue()


def test_django_redis_that_is_not_installed_is_ignored(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "django_redis", None)
    assert where(use(django_redis="queue", redis={"host": "cache"}))["host"] == "cache"


def test_own_connection_by_a_subclass(use: Use, redis_server: RedisServer) -> None:
    class Own(Redis):
        @staticmethod
        def get_connection(list_key: str | None = None) -> redis.Redis:
            assert list_key == "django_q:own:q"
            return redis.Redis(port=redis_server.port, db=4)

    broker = Own("own")
    assert broker.enqueue("a") == 1
    broker.delete_queue()
    broker.close()


# -- ping and info


def test_info_is_the_version_of_the_server(broker: Redis, client: Any) -> None:
    assert broker.info() == f"Redis {client.info()['redis_version']}"


def test_ping_logs_and_raises_the_connection_error(
    use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    broker = use(redis={"host": "127.0.0.1", "port": port})
    with pytest.raises(redis.ConnectionError) as caught:
        broker.ping()
    assert isinstance(caught.value, BrokerUnavailable)
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert f"Redis broker at 127.0.0.1:{port}/0" in record.getMessage()


# -- vital signs


def test_vital_signs_are_plain_keys_that_expire(broker: Redis, client: Any) -> None:
    stat = Stat.of(cluster_id="5bd7b1a4-0000-4000-8000-000000000001", pid=7)
    stat.save(broker)
    key = f"django_q:site:cluster:{stat.cluster_id}"
    assert client.keys("django_q:site:cluster:*") == [key.encode()]
    assert 0 < client.pttl(key) <= 3000
    assert SignedPackage.loads(client.get(key)).pid == 7
    assert [each.pid for each in Stat.get_all(broker)] == [7]


def test_vital_signs_of_an_older_release_are_found(broker: Redis, client: Any) -> None:
    stat = Stat.of(cluster_id="5bd7b1a4-0000-4000-8000-000000000002", pid=8)
    client.set(stat.key, SignedPackage.dumps(stat, True), 3)
    found = Stat.get(8, stat.cluster_id, broker)
    assert isinstance(found, Stat)
    assert [each.pid for each in Stat.get_all(broker)] == [8]


def test_expired_vital_signs_are_gone(broker: Redis) -> None:
    broker.set_stat("django_q:site:cluster:1", "a", 0.01)
    wait_until(lambda: broker.get_stat("django_q:site:cluster:1") is None)
    assert broker.get_stats("django_q:site:cluster:*") == []


# -- results in the cache


def test_cached_results_begin_with_the_full_key(broker: Redis, q_settings: Any) -> None:
    q_settings(sync=True, cached=True)
    task_id = async_task("tests.functions.add", 20, 22, broker=broker)
    assert caches["default"].get(f"{LIST}:{task_id}")
    assert result_cached(task_id, broker=broker) == 42
    assert fetch_cached(task_id, broker=broker) is not None
