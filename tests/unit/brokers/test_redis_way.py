"""What the setting `redis` may say, and how it is told that it says nothing sensible."""

from __future__ import annotations

import pickle
import ssl
from typing import Any

import pytest
import redis
from redis.sentinel import SentinelManagedSSLConnection

from django_q.brokers import get_broker
from django_q.brokers.redis_client import address_of, connect
from django_q.brokers.redis_cluster import ClusterClient
from django_q.brokers.redis_keys import key_of, queue_of
from django_q.brokers.redis_way import Way
from django_q.checks import Site, find_problems
from django_q.conf import get_options, options_for
from django_q.exceptions import ConfigurationError
from django_q.options import Options
from django_q.ready import ReadyClient

SENTINELS = {"sentinels": [("a", 1), "b:2", "c"], "service_name": "shop"}


def client(setting: Any) -> Any:
    return connect(Options(redis=setting))


def make_client() -> redis.Redis:
    return redis.Redis(host="made", port=1)


# -- ways


def test_sentinels_are_pairs_or_text_with_their_usual_port() -> None:
    way = Way.of(SENTINELS)
    assert way.sentinels == (("a", 1), ("b", 2), ("c", 26379))
    assert way.service_name == "shop"


def test_startup_nodes_are_pairs_text_or_dictionaries() -> None:
    nodes = [["a", 1], "[::1]:2", {"host": "c"}, {"host": "d", "port": "4"}]
    way = Way.of({"startup_nodes": nodes})
    assert way.is_cluster
    assert way.nodes == (("a", 1), ("::1", 2), ("c", 6379), ("d", 4))


def test_rest_of_the_dictionary_is_for_the_client() -> None:
    assert Way.of({**SENTINELS, "db": 2, "password": "p"}).keywords == {
        "db": 2,
        "password": "p",
    }


def test_entries_that_are_none_are_not_there() -> None:
    assert Way.of({"sentinels": None, "host": "a", "cluster": None}) == Way.of(
        {"host": "a"}
    )


@pytest.mark.parametrize(
    ("setting", "is_local", "is_guarded"),
    [
        ({}, True, False),
        ({"host": "10.0.0.7"}, False, False),
        ({"unix_socket_path": "/run/redis.sock"}, True, False),
        ({"url": "rediss://cache", "cluster": True}, False, True),
        ({"url": "unix:///run/redis.sock"}, True, False),
        ({"sentinels": ["127.0.0.1"], "service_name": "s"}, True, False),
        (SENTINELS, False, False),
        ({**SENTINELS, "password": "p"}, False, True),
        ({"startup_nodes": ["localhost", "cache"]}, False, False),
        ({"client": make_client}, True, False),
    ],
)
def test_way_knows_whether_it_is_exposed(
    setting: Any, is_local: bool, is_guarded: bool
) -> None:
    way = Way.of(setting)
    assert (way.is_local, way.is_guarded) == (is_local, is_guarded)


# -- clients, none of which connects yet


def test_master_behind_sentinels() -> None:
    made = client({**SENTINELS, "db": 2, "password": "p", "username": "u"})
    pool = made.connection_pool
    assert pool.service_name == "shop"
    assert pool.is_master
    said = {"db": 2, "password": "p", "username": "u", "socket_timeout": 8.0}
    assert said.items() <= pool.connection_kwargs.items()
    assert address_of(made) == "shop (Sentinels: a:1, b:2, c:26379)"


def test_sentinels_have_keywords_of_their_own() -> None:
    pool = client({**SENTINELS, "sentinel_kwargs": {"password": "s"}}).connection_pool
    kwargs = pool.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert kwargs["password"] == "s"
    # There is another one to ask.
    assert kwargs["socket_timeout"] < pool.connection_kwargs["socket_timeout"]


def test_master_behind_sentinels_is_reached_by_tls() -> None:
    pool = client({**SENTINELS, "ssl": True, "ssl_ca_certs": "ca"}).connection_pool
    assert pool.connection_class is SentinelManagedSSLConnection
    assert pool.connection_kwargs["ssl_ca_certs"] == "ca"


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ({"startup_nodes": ["a", "b"]}, "cluster of a:6379, b:6379"),
        ({"cluster": True, "host": "a", "port": 7}, "cluster of a:7"),
        ({"cluster": True}, "cluster of localhost:6379"),
        ({"cluster": True, "url": "redis://:geheim@a:7"}, "cluster of a:7"),
    ],
)
def test_cluster(setting: Any, address: str) -> None:
    made = client({**setting, "password": "p", "require_full_coverage": False})
    assert isinstance(made, ClusterClient)
    assert address_of(made) == address


@pytest.mark.parametrize("cluster", [False, None])
def test_cluster_that_is_denied_is_none(cluster: Any) -> None:
    assert type(client({"cluster": cluster, "host": "a"})) is redis.StrictRedis


def test_client_certificates_in_a_url() -> None:
    url = "rediss://a?ssl_ca_certs=ca&ssl_certfile=crt&ssl_keyfile=key"
    made = client(url).connection_pool
    connection = made.connection_class(**made.connection_kwargs)
    assert (connection.ca_certs, connection.certfile) == ("ca", "crt")
    assert connection.cert_reqs == ssl.CERT_REQUIRED


def test_url_may_have_keywords_beside_it() -> None:
    made = client({"url": "redis://a/3", "socket_timeout": 4})
    said = {"host": "a", "db": 3, "socket_timeout": 4}
    assert said.items() <= made.connection_pool.connection_kwargs.items()


def test_path_of_a_socket() -> None:
    made = client({"unix_socket_path": "/run/redis.sock", "db": 1})
    assert made.connection_pool.connection_kwargs["path"] == "/run/redis.sock"
    assert address_of(made) == "/run/redis.sock"


@pytest.mark.parametrize("way", [make_client, f"{__name__}.make_client"])
def test_function_of_the_project_gives_the_client(way: Any) -> None:
    assert address_of(client({"client": way})) == "made:1/0"


# -- keys


@pytest.mark.parametrize("queue", ["shop", "{shop}", "a}b", "ä b:q"])
def test_keys_of_a_queue_are_together_in_a_cluster(queue: str) -> None:
    """What the server hashes: all between the first brace and the next one after it."""
    key = key_of(queue, is_cluster=True)
    base = key.removesuffix(":q")
    tag = key.partition("{")[2].partition("}")[0]
    assert tag
    assert f"{base}:held:1".partition("{")[2].partition("}")[0] == tag
    assert queue_of(key, is_cluster=True) == queue
    assert queue_of(key_of(queue)) == queue


# -- what says nothing sensible

FAULTS = [
    ({"sentinels": ["a"]}, "lacks 'service_name'", "'service_name': 'mymaster'"),
    ({"service_name": "s"}, "'service_name' and no 'sentinels'", "'sentinels': [("),
    ({"sentinels": "a:1", "service_name": "s"}, "must be a list of addr", "[('10."),
    ({"sentinels": [], "service_name": "s"}, "must be a list of addr", "[('10."),
    ({"sentinels": [("a", "x")], "service_name": "s"}, "('a', 'x'), which", "('10."),
    ({"startup_nodes": [6379]}, "['startup_nodes'] has 6379", "6379)."),
    ({"startup_nodes": ["a:x"]}, "'a:x', which is no address", "6379)."),
    ({**SENTINELS, "cluster": True}, "'sentinels' and 'cluster'", "remove the other"),
    ({**SENTINELS, "host": "a"}, "'sentinels' and 'host'", "remove the other"),
    ({**SENTINELS, "sentinel_kwargs": "p"}, "must be a dictionary", "'password'"),
    ({"cluster": True, "db": 2}, "'cluster' and 'db'", "Keep one"),
    ({"cluster": True, "unix_socket_path": "/a"}, "'unix_socket_path'", "Keep one"),
    ({"url": "redis://a", "host": "b"}, "'url' and 'host'", "Keep one"),
    ({"url": "redis://[::1"}, "['url'] is not a valid URL", "redis://localhost"),
    ({"client": make_client, "db": 1}, "'client' and 'db'", "remove the rest"),
    ({"client": 6379}, "neither a client nor a function", "'shop.queue.make_client'"),
]


@pytest.mark.parametrize(("setting", "message", "hint"), FAULTS)
def test_fault_is_named_with_what_to_write(
    setting: Any, message: str, hint: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client(setting)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    site = Site(
        raw={"redis": setting}, databases={}, caches={}, logging={}, secret_key=""
    )
    [problem] = [each for each in find_problems(site) if each.id == "django_q.E006"]
    assert f"{problem.msg} {problem.hint}" == str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        {"hosst": "a"},
        {"cluster": True, "hosst": "a"},
        {**SENTINELS, "hosst": "a"},
        "redis://a?hosst=a",
    ],
)
def test_entry_that_nobody_knows_is_named(setting: Any) -> None:
    with pytest.raises(ConfigurationError, match="the entry 'hosst'"):
        client(setting)


def test_function_that_can_not_be_imported_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'nowhere\.make' cannot be imported"):
        client({"client": "nowhere.make"})


def test_url_of_an_unknown_kind_is_said() -> None:
    with pytest.raises(ConfigurationError, match="redis://"):
        client("http://a")


# -- clients that are ready


@pytest.mark.parametrize("way", [lambda c: c, lambda c: {"client": c}], ids=["", "in"])
def test_ready_client_is_the_connection(way: Any, q_settings: Any) -> None:
    ready = redis.Redis(port=7)
    q_settings(orm=None, redis=way(ready))
    assert get_broker("mine").connection is ready
    assert pickle.loads(pickle.dumps(get_options())).redis == get_options().redis


def test_ready_client_of_an_alternative_cluster(q_settings: Any) -> None:
    base, other = redis.Redis(port=7), redis.Redis(port=8)
    q_settings(orm=None, redis=base, ALT_CLUSTERS={"reports": {"redis": other}})
    assert get_broker("mine").connection is base
    assert get_broker("reports").connection is other
    sent = pickle.loads(pickle.dumps(options_for("reports")))
    assert sent.redis() is other


def test_other_process_finds_its_own_client(q_settings: Any) -> None:
    """As the settings of a child do that was started anew."""
    q_settings(orm=None, redis={"client": redis.Redis(port=7)})
    sent = pickle.dumps(get_options())
    again = redis.Redis(port=7)
    q_settings(redis={"client": again})
    assert pickle.loads(sent).redis["client"]() is again


def test_client_that_is_nowhere_in_the_settings_is_not_sent() -> None:
    with pytest.raises(TypeError, match="can't be sent to a process"):
        pickle.dumps(ReadyClient(redis.Redis()))


def test_ready_client_shows_no_password() -> None:
    assert repr(ReadyClient(redis.Redis(password="secret"))) == "<a ready Redis>"


def test_maker_that_wants_arguments_is_named(q_settings: Any) -> None:
    q_settings(orm=None, redis={"client": "math.sqrt"})
    with pytest.raises(ConfigurationError, match=r"'math\.sqrt' can't be called"):
        get_broker("mine")


def test_cache_that_is_not_there_is_named(q_settings: Any) -> None:
    pytest.importorskip("django_redis")
    q_settings(orm=None, django_redis="nope")
    with pytest.raises(ConfigurationError, match="'nope' is no cache of django-redis"):
        get_broker("mine")


def test_class_that_is_none_is_named(q_settings: Any) -> None:
    q_settings(broker_class="math.sqrt")
    with pytest.raises(ConfigurationError, match=r"'math\.sqrt' is no class"):
        get_broker("mine")


def test_port_that_is_no_number_is_named(q_settings: Any) -> None:
    q_settings(orm=None, redis={"port": "abc"})
    with pytest.raises(ConfigurationError, match="can't be used"):
        get_broker("mine")
