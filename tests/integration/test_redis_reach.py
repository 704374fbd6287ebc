"""How the Redis broker reaches its server, and what it does when it no longer does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from redis import Redis as Client

from django_q.brokers import (
    redis_call,
    redis_cluster,
    redis_lua,
    redis_rights,
    redis_scripts,
)
from django_q.brokers.redis_broker import Redis
from django_q.brokers.redis_cautions import exposures
from django_q.brokers.redis_client import ANSWERS_WITHIN
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError
from tests.proxy import Proxy
from tests.redis_servers import (
    SLOTS,
    RedisClusterServer,
    RedisNode,
    RedisWithTls,
    WatchedRedis,
)
from tests.servers import ADDRESS, RedisServer, free_port
from tests.waiting import wait_until

Open = Callable[..., Redis]
CLUSTER = "5bd7b1a4000040008000000000000001"


@pytest.fixture
def open_broker(q_settings: Any, client: Any) -> Iterator[Open]:
    """A broker on the queue "reached", by this way."""
    opened: list[Redis] = []

    def open_one(way: Any, queue: str = "reached") -> Redis:
        q_settings(redis=way, orm=None, poll=0.02)
        opened.append(Redis(queue))
        return opened[-1]

    yield open_one
    for broker in opened:
        with suppress(BrokerError):
            broker.close()


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with Client.from_url(redis_server.url) as client:
        yield client
        client.flushall()


def works(broker: Redis) -> bool:
    """A package goes there and comes back; also to one that waits for it."""
    broker.enlist(CLUSTER, 30)
    assert broker.dequeue(5) == []
    assert broker.news_fd() is not None
    broker.enqueue("there", task_id="there")
    wait_until(broker.has_news)
    [delivery] = broker.dequeue(5)
    return delivery.package == "there" and broker.acknowledge(str(delivery.receipt))


# -- ways


def test_socket_of_the_host(redis_server: RedisServer, open_broker: Open) -> None:
    for way in (
        {"unix_socket_path": str(redis_server.socket)},
        f"unix://{redis_server.socket}?db=1",
    ):
        assert works(open_broker(way))


def test_password(redis_server: RedisServer, open_broker: Open, client: Any) -> None:
    client.config_set("requirepass", "geheim")
    try:
        assert works(open_broker(f"redis://:geheim@{ADDRESS}:{redis_server.port}"))
        lacks = open_broker({"port": redis_server.port})
        with pytest.raises(BrokerError, match=r"(?i)auth"):
            lacks.queue_size()
    finally:
        client.config_set("requirepass", "")


def test_tls_by_a_url(redis_with_tls: RedisWithTls, open_broker: Open) -> None:
    said = "&".join(f"{k}={v}" for k, v in redis_with_tls.certificates.items())
    assert works(open_broker(f"rediss://{ADDRESS}:{redis_with_tls.port}?{said}"))


def test_server_of_an_unknown_authority_is_not_talked_to(
    redis_with_tls: RedisWithTls, open_broker: Open
) -> None:
    broker = open_broker(f"rediss://{ADDRESS}:{redis_with_tls.port}")
    with pytest.raises(BrokerUnavailable, match=r"(?i)certificate"):
        broker.queue_size()


def test_client_without_a_certificate_is_refused(
    redis_with_tls: RedisWithTls, open_broker: Open
) -> None:
    way = {"port": redis_with_tls.port, "ssl": True, "host": ADDRESS}
    authority = {"ssl_ca_certs": redis_with_tls.certificates["ssl_ca_certs"]}
    # What the server says about it may come too late to be read.
    with pytest.raises(BrokerUnavailable):
        open_broker(way | authority).queue_size()


def test_function_of_the_project(redis_server: RedisServer, open_broker: Open) -> None:
    assert works(open_broker({"client": lambda: Client(port=redis_server.port, db=2)}))


# -- half-open connections


class Watched(Client):
    """A project's own kind of client."""

    def execute_command(self, *words: Any, **options: Any) -> Any:
        self.seen = [*getattr(self, "seen", ()), words[0]]
        return super().execute_command(*words, **options)  # type: ignore[no-untyped-call]


def test_own_kind_of_client_is_asked_itself(
    redis_server: RedisServer, open_broker: Open
) -> None:
    broker = open_broker({"client": lambda: Watched.from_url(redis_server.url)})
    assert works(broker)
    # EVAL where the server does not know the script yet.
    assert {"EVAL", "EVALSHA", "PING"} >= set(broker.connection.seen) >= {"EVALSHA"}


def test_whoever_watches_all_clients_sees_what_scripts_are_asked(
    redis_server: RedisServer, open_broker: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, seen = Client.execute_command, []

    def watch(client: Any, *words: Any, **options: Any) -> Any:
        seen.append(words[0])
        return usual(client, *words, **options)  # type: ignore[no-untyped-call]

    broker = open_broker(redis_server.url)
    broker.enqueue("before")
    monkeypatch.setattr(Client, "execute_command", watch)
    broker.enqueue("meanwhile")
    assert seen == ["EVALSHA"]


def test_connections_of_the_pool_are_given_back(
    redis_server: RedisServer, open_broker: Open, client: Any
) -> None:
    broker = open_broker({"port": redis_server.port, "max_connections": 1})
    broker.enqueue("before")
    client.client_kill_filter(_type="normal", skipme=True)
    broker.enqueue("after", task_id="after")
    assert broker.queue_size() == 2


def test_silence_is_noticed(redis_server: RedisServer, open_broker: Open) -> None:
    with Proxy(redis_server.port) as proxy:
        broker = open_broker({"port": proxy.port, "socket_timeout": 0.3})
        broker.enqueue("a")
        proxy.freeze()
        with pytest.raises(BrokerUnavailable, match=r"(?i)timeout"):
            broker.queue_size()
        proxy.mend()
        assert broker.queue_size() == 1
        broker.close()


def test_whoever_waits_notices_the_silence(
    redis_server: RedisServer, open_broker: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_call, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(redis_call, "PATIENCE", 0.2)
    with Proxy(redis_server.port) as proxy:
        broker = open_broker({"port": proxy.port, "socket_timeout": 0.3})
        broker.enlist(CLUSTER, 30)
        assert broker.dequeue(5) == []
        assert broker.news_fd() is not None
        proxy.freeze()
        wait_until(broker.has_news)
        with pytest.raises(BrokerUnavailable):
            broker.queue_size()
        proxy.mend()
        assert works(broker)
        broker.close()


def test_both_together_take_less_than_fifteen_seconds() -> None:
    """Whoever waits finds out, and then the connection that is asked what has come."""
    assert redis_call.LONGEST_WAIT + redis_call.PATIENCE + ANSWERS_WITHIN < 15


def test_waiting_ends_also_on_connections_without_a_limit(
    redis_server: RedisServer, open_broker: Open
) -> None:
    broker = open_broker(
        {"client": lambda: Client(port=redis_server.port, socket_timeout=None)}
    )
    assert works(broker)
    assert broker._open_call()._own.socket_timeout == ANSWERS_WITHIN  # noqa: SLF001
    [caution] = broker.cautions()
    assert "no socket_timeout" in caution


# -- rights


@contextmanager
def user(client: Any, *rules: str) -> Iterator[dict[str, str]]:
    client.execute_command("ACL SETUSER", "poor", "reset", "on", ">p", *rules)
    try:
        yield {"username": "poor", "password": "p"}
    finally:
        client.acl_deluser("poor")


def test_every_command_that_scripts_may_not_run_is_named_at_the_start(
    redis_server: RedisServer, open_broker: Open, client: Any
) -> None:
    with user(client, "~*", "+@all", "-hset", "-rpoplpush") as who:
        broker = open_broker({"port": redis_server.port, **who})
        with pytest.raises(BrokerError, match="needs: HSET, RPOPLPUSH") as caught:
            broker.ping()
    assert caught.value.hint == "Allow them: ACL SETUSER its-user +hset +rpoplpush"
    assert client.keys("*") == []


@pytest.mark.django_db
def test_cluster_does_not_start_where_it_could_lose_a_package(
    redis_server: RedisServer, client: Any, q_settings: Any
) -> None:
    with user(client, "~*", "+@all", "-hset") as who:
        q_settings(orm=None, redis={"port": redis_server.port, **who})
        with pytest.raises(CommandError, match=r"Can't use the broker: .* HSET\."):
            call_command("qcluster")


def test_command_that_a_script_may_not_run_is_named_when_it_does(
    redis_server: RedisServer, open_broker: Open, client: Any
) -> None:
    with (
        user(client, "~*", "+@all", "-hsetnx") as who,
        pytest.raises(BrokerError, match=r"(?i)hsetnx"),
    ):
        open_broker({"port": redis_server.port, **who}).enqueue("a", task_id="a")


def test_user_who_may_not_run_scripts_is_refused_at_the_start(
    redis_server: RedisServer, open_broker: Open, client: Any
) -> None:
    with (
        user(client, "~*", "+@all", "-@scripting") as who,
        pytest.raises(BrokerError, match=r"refuses: .*evalsha"),
    ):
        open_broker({"port": redis_server.port, **who}).ping()


def test_keys_that_the_user_may_not_have_are_said_at_the_start(
    redis_server: RedisServer, open_broker: Open, client: Any
) -> None:
    with (
        user(client, "~other:*", "+@all") as who,
        pytest.raises(BrokerError, match=r"(?i)key"),
    ):
        open_broker({"port": redis_server.port, **who}).ping()


def test_commands_of_all_scripts_are_tried() -> None:
    called = re.findall(r"redis\.call\(\s*'(\w+)'", source_of_scripts())
    assert len(called) > 10
    assert set(called) <= set(redis_rights.needed())


def source_of_scripts() -> str:
    scripts = vars(redis_scripts).values()
    texts = [s.text for s in scripts if isinstance(s, redis_lua.Script)]
    return "\n".join(texts)


def test_server_that_tells_nothing_about_itself_is_redis(
    redis_server: RedisServer, open_broker: Open, client: Any
) -> None:
    with user(client, "~*", "+@all", "-info") as who:
        broker = open_broker({"port": redis_server.port, **who})
        assert broker.info() == "Redis"
        assert broker.cautions() == []


# -- cautions


def exposed(**way: Any) -> str:
    return " ".join(exposures(Client(**way).connection_pool))


def test_way_to_another_host_is_told_of_unless_it_is_guarded() -> None:
    bare = exposed(host="10.0.0.7")
    assert "without TLS" in bare
    assert "no password" in bare
    assert "without TLS" in exposed(host="10.0.0.7", password="p")
    assert "no password" not in exposed(host="10.0.0.7", password="p")
    assert "no password" in exposed(host="cache", ssl=True)
    assert exposed(host="cache", ssl=True, password="p") == ""
    assert exposed(host="cache", ssl=True, ssl_certfile="c", ssl_keyfile="k") == ""


@pytest.mark.parametrize(
    "way", [{}, {"host": "::1"}, {"host": "127.0.0.9"}, {"unix_socket_path": "/s"}]
)
def test_way_on_this_host_needs_no_guard(way: dict[str, Any]) -> None:
    assert exposed(**way) == ""


def test_server_that_keeps_nothing_at_all_is_told_of(
    redis_server: RedisServer, open_broker: Open, client: Any
) -> None:
    broker = open_broker(redis_server.url)
    client.config_set("appendonly", "no")
    try:
        [caution] = broker.cautions()
        assert "in memory only: appendonly is off, and so are snapshots" in caution
        client.config_set("save", "3600 1")
        [caution] = broker.cautions()
        assert "since its last snapshot" in caution
    finally:
        client.config_set("save", "")
        client.config_set("appendonly", "yes")


# -- a cluster


@pytest.fixture
def cluster(redis_cluster: RedisClusterServer) -> Iterator[RedisClusterServer]:
    yield redis_cluster
    redis_cluster.flush()


@pytest.fixture
def on_cluster(cluster: RedisClusterServer, open_broker: Open) -> Redis:
    return open_broker({"startup_nodes": cluster.addresses})


def test_one_node_or_a_url_is_enough(
    cluster: RedisClusterServer, open_broker: Open
) -> None:
    port = cluster.nodes[0].port
    for way in (
        {"cluster": True, "host": ADDRESS, "port": port},
        {"cluster": True, "url": f"redis://{ADDRESS}:{port}"},
    ):
        assert works(open_broker(way))


def test_keys_of_a_queue_are_with_one_node(
    cluster: RedisClusterServer, on_cluster: Redis
) -> None:
    assert on_cluster.list_key == "django_q:{reached}:q"
    assert on_cluster.short_key == "reached"
    on_cluster.enlist(CLUSTER, 30)
    for number in range(3):
        on_cluster.enqueue(str(number), task_id=str(number), delay=number)
    on_cluster.dequeue(1)
    assert sorted(len(node.keys()) > 0 for node in cluster.nodes) == [0, 0, 1]


def test_vital_signs_are_found_on_all_nodes(
    cluster: RedisClusterServer, on_cluster: Redis
) -> None:
    names = [f"django_q:site:cluster:{number}" for number in range(12)]
    for name in names:
        on_cluster.set_stat(name, name, 60)
    assert all(node.keys() for node in cluster.nodes)
    assert on_cluster.get_stats("django_q:site:cluster:*") == sorted(names)
    assert on_cluster.get_stat(names[7]) == names[7]
    on_cluster.enqueue("no text", task_id="a")
    assert on_cluster.get_stats("django_q:*") == sorted(names)


@pytest.mark.parametrize("decodes", [False, True])
def test_cluster_client_of_the_project(
    cluster: RedisClusterServer, open_broker: Open, decodes: bool
) -> None:
    host, port = cluster.addresses[0]

    def make() -> redis.RedisCluster:
        return redis.RedisCluster(host, port, decode_responses=decodes)

    class Own(Redis):
        @staticmethod
        def get_connection(list_key: str | None = None) -> redis.RedisCluster:
            return make()

    broker = open_broker({"client": make})
    assert broker.list_key == "django_q:{reached}:q"
    assert works(broker)
    broker.close()
    assert works(broker)
    own = Own("reached")
    assert works(own)
    own.close()


def test_nobody_of_a_cluster_can_be_reached(open_broker: Open) -> None:
    ports = [free_port(), free_port()]
    broker = open_broker({"startup_nodes": [(ADDRESS, port) for port in ports]})
    with pytest.raises(BrokerUnavailable) as caught:
        broker.enqueue("a", task_id="a")
    where = ", ".join(f"{ADDRESS}:{port}" for port in ports)
    assert f"Redis broker at cluster of {where}" in str(caught.value)
    assert "refused" in str(caught.value)


def test_single_server_is_no_cluster(
    redis_server: RedisServer, open_broker: Open
) -> None:
    broker = open_broker({"cluster": True, "port": redis_server.port})
    with pytest.raises(BrokerError, match="cluster support disabled") as caught:
        broker.ping()
    assert not isinstance(caught.value, BrokerUnavailable)


def test_cluster_is_no_single_server(
    cluster: RedisClusterServer, open_broker: Open
) -> None:
    """Two of three nodes have other keys."""
    brokers = [open_broker({"port": node.port}, "{a}") for node in cluster.nodes[:2]]
    told = [str(refusal(broker)) for broker in brokers]
    assert "'cluster': True" in " ".join(told)


def refusal(broker: Redis) -> BrokerError | None:
    try:
        broker.ping()
    except BrokerError as error:
        return error
    return None


def test_node_is_restarted(cluster: RedisClusterServer, on_cluster: Redis) -> None:
    on_cluster.enqueue("kept", task_id="kept")
    [home] = [node for node in cluster.nodes if node.keys()]
    home.restart()
    wait_until(cluster.is_whole)
    assert on_cluster.enqueue("kept", task_id="kept") == "kept"
    assert [delivery.package for delivery in on_cluster.dequeue(5)] == ["kept"]


class Move:
    """The slot of a queue goes from its node to another one, step by step."""

    def __init__(self, cluster: RedisClusterServer, key: str) -> None:
        self.source = next(node for node in cluster.nodes if node.keys())
        self.target = next(node for node in cluster.nodes if not node.keys())
        self.slot = self.source.ask("CLUSTER KEYSLOT", key)

    def begin(self) -> None:
        for node, verb, other in (
            (self.target, "IMPORTING", self.source),
            (self.source, "MIGRATING", self.target),
        ):
            node.ask("CLUSTER SETSLOT", self.slot, verb, other.ask("CLUSTER MYID"))

    def end(self) -> None:
        keys = self.source.ask("CLUSTER GETKEYSINSLOT", self.slot, 100)
        there = ("MIGRATE", ADDRESS, self.target.port, "", 0, 5000)
        self.source.ask(*there, "KEYS", *keys)
        name = self.target.ask("CLUSTER MYID")
        for node in (self.target, self.source):
            node.ask("CLUSTER SETSLOT", self.slot, "NODE", name)


@pytest.mark.parametrize("waiting", [0, 2])
def test_queue_on_its_way_to_another_node_is_refused_as_a_whole(
    cluster: RedisClusterServer,
    on_cluster: Redis,
    monkeypatch: pytest.MonkeyPatch,
    waiting: int,
) -> None:
    """Half a script would be a lost package. Without a list, as nothing waits, and with
    one: the nodes treat a key that is not there otherwise.
    """
    monkeypatch.setattr(redis_cluster, "WAITS_FOR_A_MOVE", 0.1)
    on_cluster.enlist(CLUSTER, 30)
    for number in range(waiting + 1):
        on_cluster.enqueue(str(number))
    [taken] = on_cluster.dequeue(1)
    receipt = str(taken.receipt)
    move = Move(cluster, on_cluster.list_key)
    move.begin()
    for verb in (
        lambda: on_cluster.release([receipt]),
        lambda: on_cluster.enqueue("new", task_id="new"),
        lambda: on_cluster.dequeue(1),
    ):
        with pytest.raises(BrokerUnavailable):
            verb()
    move.end()
    assert on_cluster.queue_size() == waiting
    assert [delivery.receipt for delivery in on_cluster.held()] == [receipt]
    assert on_cluster.acknowledge(receipt)
    on_cluster.purge_queue()
    assert works(on_cluster)


def test_replica_of_a_dead_node_takes_over(
    redis_server: RedisServer, open_broker: Open
) -> None:
    with RedisClusterServer(replicated=True) as cluster:
        node = cluster.nodes[0]
        queue = next(name for name in QUEUES if first_slots_have(node, name))
        broker = open_broker({"startup_nodes": cluster.addresses}, queue)
        broker.enqueue("kept", task_id="kept")
        wait_until(cluster.has_copied)
        assert node.process is not None
        node.process.kill()

        def is_queued() -> bool:
            with suppress(BrokerUnavailable):
                return broker.enqueue("new", task_id="new") == "new"
            return False

        wait_until(is_queued, within=30)
        packages = [delivery.package for delivery in broker.dequeue(5)]
        assert packages == ["kept", "new"]
        broker.close()


QUEUES = [f"queue-{number}" for number in range(100)]


def first_slots_have(node: RedisNode, queue: str) -> bool:
    slot: int = node.ask("CLUSTER KEYSLOT", queue)
    return slot < SLOTS // 4


def test_silent_node_of_a_cluster_is_noticed(
    cluster: RedisClusterServer, open_broker: Open
) -> None:
    """All are behind proxies, and one of them falls silent."""
    with ExitStack() as stack:
        proxies = {
            port: stack.enter_context(Proxy(port)) for _host, port in cluster.addresses
        }
        broker = open_broker(
            {
                "startup_nodes": [(ADDRESS, each.port) for each in proxies.values()],
                "socket_timeout": 0.3,
                "address_remap": lambda pair: (ADDRESS, proxies[pair[1]].port),
            }
        )
        broker.enqueue("a")
        [home] = [node for node in cluster.nodes if node.keys()]
        proxies[home.port].freeze()
        with pytest.raises(BrokerUnavailable):
            broker.queue_size()
        proxies[home.port].mend()
        assert broker.queue_size() == 1
        broker.close()


# -- behind Sentinels; the last test here ends the master


def test_master_is_found_by_the_sentinel_that_answers(
    watched_redis: WatchedRedis, open_broker: Open
) -> None:
    [there] = watched_redis.settings["sentinels"]
    dead = (ADDRESS, free_port())
    broker = open_broker(watched_redis.settings | {"sentinels": [dead, there]})

    def is_found() -> bool:
        # A Sentinel that got no time on a busy machine takes the master for dead.
        try:
            return works(broker)
        except BrokerUnavailable:
            return False

    wait_until(is_found, within=30)


def test_service_that_no_sentinel_knows_is_named(
    watched_redis: WatchedRedis, open_broker: Open
) -> None:
    broker = open_broker(watched_redis.settings | {"service_name": "other"})
    with pytest.raises(BrokerUnavailable, match="no master found for 'other'"):
        broker.queue_size()


def test_sentinels_that_nobody_reaches_are_named(open_broker: Open) -> None:
    port = free_port()
    way = {"sentinels": [(ADDRESS, port)], "service_name": "shop"}
    with pytest.raises(BrokerUnavailable) as caught:
        open_broker(way).enqueue("a", task_id="a")
    assert f"at shop (Sentinels: {ADDRESS}:{port})" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_wrong_entry_is_said_before_anything_is_asked(open_broker: Open) -> None:
    with pytest.raises(ConfigurationError, match="service_name"):
        open_broker({"sentinels": ["a"]})


def test_another_master_takes_over(
    watched_redis: WatchedRedis, open_broker: Open
) -> None:
    """Whoever has asked before, and whoever waits, goes on with the new one."""
    broker = open_broker(watched_redis.settings)
    broker.enlist(CLUSTER, 30)
    broker.enqueue("held", task_id="held")
    [held] = broker.dequeue(1)
    assert broker.dequeue(1) == []
    assert broker.news_fd() is not None
    watched_redis.fail_over()
    wait_until(broker.has_news)

    def renewed() -> bool:
        with suppress(BrokerUnavailable):
            return broker.renew([str(held.receipt)]) == {held.receipt}
        return False

    wait_until(renewed)
    assert broker.acknowledge(str(held.receipt))
    assert works(broker)
