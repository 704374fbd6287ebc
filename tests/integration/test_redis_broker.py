"""What only the Redis broker does, on a real server."""

from __future__ import annotations

import select
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from redis import Redis as Client

from django_q.brokers import Consignment, Delivery, redis_broker
from django_q.brokers.front import Front
from django_q.brokers.loads import LARGEST_LOAD, MOST_AT_ONCE, loads
from django_q.brokers.redis_broker import Redis
from django_q.brokers.redis_keys import beside
from django_q.brokers.redis_scripts import FETCH
from django_q.dashboard.snapshot import take_snapshot
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.status import Stat
from tests.servers import RedisServer, free_port
from tests.waiting import wait_until

Open = Callable[..., Redis]


@pytest.fixture
def open_broker(redis_server: RedisServer, q_settings: Any) -> Iterator[Open]:
    """Brokers on one queue; keywords go to the client."""
    queue = f"redis-{uuid.uuid4().hex[:8]}"
    opened: list[Redis] = []

    def open_one(**connection: Any) -> Redis:
        way = {"port": redis_server.port, **connection}
        q_settings(redis=way, orm=None, poll=0.02)
        opened.append(Redis(queue))
        return opened[-1]

    yield open_one
    for broker in opened:
        with suppress(BrokerError):
            broker.close()
    with Client.from_url(redis_server.url) as client:
        client.flushdb()


@pytest.fixture
def broker(open_broker: Open) -> Redis:
    return open_broker()


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """Somebody else who talks to the same server."""
    with Client.from_url(redis_server.url) as client:
        yield client


def enlisted(broker: Redis, lease: float = 30) -> Redis:
    broker.enlist(uuid.uuid4().hex, lease)
    return broker


def side_key(broker: Redis, name: str) -> str:
    return beside(broker.list_key, name)


def where(broker: Redis) -> dict[str, Any]:
    told: dict[str, Any] = broker.connection.connection_pool.connection_kwargs
    return told


def lapse(broker: Redis, client: Any) -> None:
    """The leases of all clusters of this queue are over."""
    key = side_key(broker, "clusters")
    for cluster in client.zrange(key, 0, -1):
        client.zadd(key, {cluster: 0})


# -- beside producers and consumers of earlier releases


def test_consumer_that_knows_the_list_only_finds_the_bare_package(
    broker: Redis, client: Any
) -> None:
    broker.enqueue("package", task_id="a")
    assert client.blpop([broker.list_key], 1) == (
        broker.list_key.encode(),
        b"package",
    )
    assert broker.dequeue() == []


def test_what_others_took_is_forgotten_once_the_queue_is_empty(
    broker: Redis, client: Any
) -> None:
    broker.enqueue("package", task_id="a")
    client.lpop(broker.list_key)
    rescuer = enlisted(broker, 0.05)
    wait_until(
        lambda: rescuer.rescue() or not client.exists(side_key(broker, "places"))
    )
    assert not client.exists(side_key(broker, "deliveries"))
    broker.enqueue("package", task_id="a")
    assert broker.queue_size() == 1


def test_bytes_that_are_no_text_are_handed_out_and_can_be_removed(
    open_broker: Open, client: Any
) -> None:
    for broker in (open_broker(), open_broker(decode_responses=True)):
        client.rpush(broker.list_key, b"\xff\xfe\x00")
        [delivery] = broker.dequeue(5)
        assert broker.acknowledge_many([str(delivery.receipt)])
        assert broker.lock_size() == 0


def test_same_bytes_pushed_twice_are_two_packages(broker: Redis, client: Any) -> None:
    client.rpush(broker.list_key, "same", "same")
    first, second = enlisted(broker).dequeue(5)
    assert first.receipt != second.receipt
    broker.release([str(first.receipt)])
    assert broker.acknowledge_many([str(second.receipt)]) == {second.receipt}
    assert [d.package for d in broker.dequeue(5)] == ["same"]


def test_subclass_that_pops_sends_links_to_queues_by_their_names(
    broker: Redis, client: Any
) -> None:
    """As a cluster uses it: without leases, behind a front."""

    class Popping(Redis):
        def dequeue(self) -> list[Any]:  # type: ignore[override]
            package = self.connection.lpop(self.list_key)
            return [(None, package)] if package else []

    front = Front(Popping(broker.short_key))
    assert front.short_key == broker.short_key
    front.enqueue_many([Consignment("link", front.short_key)])
    assert client.llen(broker.list_key) == 1
    [delivery] = front.dequeue(1)
    assert (delivery.receipt, delivery.package) == (None, "link")
    front.close()


# -- answers that are lost


def carry(near: socket.socket, far: socket.socket, lose: threading.Event) -> None:
    """From one to the other and back, until one ends or an answer is to be lost."""
    asked = b""
    while True:
        [end, *_], _, _ = select.select([near, far], [], [])
        if not (said := end.recv(65536)):
            return
        if end is near:
            asked = said
        elif lose.is_set() and b"EVALSHA" in asked:
            lose.clear()
            return
        (far if end is near else near).sendall(said)


@contextmanager
def deaf_proxy(port: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that leads to the server, and how to lose the next answer: the server has
    done what it was asked then, and the client is cut off.
    """
    lose, threads = threading.Event(), []
    listener = socket.create_server(("127.0.0.1", 0))
    ends = [listener]

    def serve(near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            ends.append(far)
            carry(near, far, lose)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                ends.append(near)
                threads.append(threading.Thread(target=serve, args=(near,)))
                threads[-1].start()

    door = threading.Thread(target=accept)
    door.start()
    try:
        yield listener.getsockname()[1], lose.set
    finally:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in (door, *threads):
            thread.join()
        listener.close()


@pytest.fixture
def lossy(
    redis_server: RedisServer, open_broker: Open
) -> Iterator[tuple[Redis, Callable[[], None]]]:
    """A broker whose scripts the server knows already, and how to lose an answer."""
    with deaf_proxy(redis_server.port) as (port, lose):
        broker = enlisted(open_broker(port=port))
        broker.enqueue("warm", task_id="warm")
        [delivery] = broker.dequeue(1)
        broker.release([str(delivery.receipt)])
        broker.acknowledge_many([str(broker.dequeue(1)[0].receipt)])
        yield broker, lose
        broker.close()


Lossy = tuple[Redis, Callable[[], None]]


def test_task_is_queued_once_when_the_answer_is_lost(lossy: Lossy) -> None:
    broker, lose = lossy
    lose()
    assert broker.enqueue("once", task_id="a") == "a"
    assert broker.queue_size() == 1


def test_package_without_an_id_is_not_sent_again(lossy: Lossy) -> None:
    broker, lose = lossy
    lose()
    with pytest.raises(BrokerUnavailable):
        broker.enqueue("perhaps")
    assert broker.queue_size() == 1


def test_what_was_fetched_is_fetched_when_the_answer_is_lost(lossy: Lossy) -> None:
    broker, lose = lossy
    broker.enqueue_many([Consignment(str(n), broker.short_key) for n in range(5)])
    lose()
    taken = broker.dequeue(3)
    assert [delivery.package for delivery in taken] == ["0", "1", "2"]
    assert {d.receipt for d in broker.held()} == {d.receipt for d in taken}
    assert {d.deliveries for d in taken} == {1}


def test_redelivery_counts_once_when_the_answer_is_lost(lossy: Lossy) -> None:
    broker, lose = lossy
    broker.enqueue("crashed")
    [first] = broker.dequeue(1)
    lose()
    again = broker.redeliver(str(first.receipt))
    assert again is not None
    assert (again.deliveries, again.starts) == (2, 1)
    assert [d.receipt for d in broker.held()] == [again.receipt]


@pytest.mark.parametrize("verb", ["acknowledge_many", "release"])
def test_what_was_ours_is_said_to_be_when_the_answer_is_lost(
    lossy: Lossy, verb: str
) -> None:
    """Else a saved result would be called late, and its hook left out."""
    broker, lose = lossy
    broker.enqueue("done")
    [delivery] = broker.dequeue(1)
    receipt = str(delivery.receipt)
    lose()
    with pytest.raises(BrokerUnavailable):
        getattr(broker, verb)([receipt])
    assert broker.held() == []
    assert getattr(broker, verb)([receipt]) == {receipt}
    assert getattr(broker, verb)([receipt]) == set()


def test_receipt_of_nobody_is_not_ours_on_a_machine_that_has_just_started(
    broker: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "monotonic", lambda: 1.0)
    assert broker.acknowledge("never handed out") is False


def test_question_that_comes_again_gets_the_same_answer(broker: Redis) -> None:
    broker.enqueue("a")
    broker.enqueue("b")
    question = ("token", "cluster", 30_000, 1, 1000, 0)
    first = FETCH(broker.connection, broker.list_key, *question)
    assert FETCH(broker.connection, broker.list_key, *question) == first
    assert broker.queue_size() == 1


# -- waking up


def is_blocked(client: Any) -> bool:
    info = client.info("clients")
    return bool(info["blocked_clients"])


def moved_of(broker: Redis, client: Any) -> int:
    return int(client.llen(side_key(broker, "head")))


@pytest.fixture
def waiting(broker: Redis, client: Any) -> Redis:
    """An idle broker that Redis will call."""
    enlisted(broker)
    assert broker.dequeue(5) == []
    assert broker.news_fd() is not None
    wait_until(lambda: is_blocked(client))
    return broker


def test_package_that_wakes_is_in_redis_until_it_is_fetched(
    waiting: Redis, open_broker: Open, client: Any
) -> None:
    assert not waiting.has_news()
    other = open_broker()
    other.enqueue("news", task_id="a")
    wait_until(waiting.has_news)
    assert moved_of(waiting, client) == 1
    assert (other.queue_size(), other.lock_size()) == (1, 0)
    [delivery] = waiting.dequeue(5)
    assert (delivery.package, delivery.deliveries) == ("news", 1)
    assert moved_of(waiting, client) == 0


def test_whoever_has_work_is_not_called(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    """A package behind a long task would wait although others are idle."""
    enlisted(broker)
    broker.enqueue("work")
    assert len(broker.dequeue(1)) == 1
    assert broker.news_fd() is None
    open_broker().enqueue("for others")
    assert moved_of(broker, client) == 0


def test_package_that_woke_the_dead_is_for_others(
    waiting: Redis, open_broker: Open, client: Any
) -> None:
    other = enlisted(open_broker())
    other.enqueue("first", task_id="a")
    wait_until(lambda: moved_of(waiting, client))
    other.enqueue("second")
    taken = other.dequeue(5)
    # Nobody has begun the first one, so it is under no suspicion.
    assert [(d.package, d.deliveries, d.rescues) for d in taken] == [
        ("first", 1, 0),
        ("second", 1, 0),
    ]


def test_closing_gives_back_what_woke_it(
    waiting: Redis, open_broker: Open, client: Any
) -> None:
    other = open_broker()
    other.enqueue("news")
    wait_until(lambda: moved_of(waiting, client))
    waiting.close()
    assert (other.queue_size(), other.lock_size()) == (1, 0)


def test_closing_ends_the_wait_at_once(waiting: Redis, client: Any) -> None:
    waiting.close()
    assert not is_blocked(client)


def test_one_connection_in_the_pool_is_enough(open_broker: Open, client: Any) -> None:
    broker = enlisted(open_broker(max_connections=1))
    assert broker.dequeue(5) == []
    assert broker.news_fd() is not None
    client.rpush(broker.list_key, "news")
    wait_until(broker.has_news)
    assert [delivery.package for delivery in broker.dequeue(5)] == ["news"]


def test_connection_that_breaks_while_waiting_is_news(
    waiting: Redis, client: Any
) -> None:
    """Something may have come: whoever looks will see what is wrong."""
    blocked = [c for c in client.client_list() if "b" in c["flags"]]
    client.client_kill_filter(_id=blocked[0]["id"])
    wait_until(waiting.has_news)
    assert waiting.dequeue(5) == []
    assert waiting.news_fd() is not None
    wait_until(lambda: is_blocked(client))


def test_server_that_can_not_move_is_asked_again_and_again(
    redis_server: RedisServer, open_broker: Open, client: Any
) -> None:
    client.acl_setuser(
        "old",
        enabled=True,
        passwords=["+plain"],
        keys=["*"],
        commands=["+@all", "-blmove"],
    )
    broker = enlisted(open_broker(username="old", password="plain"))
    broker.dequeue(5)
    broker.news_fd()
    wait_until(broker.has_news)
    broker.dequeue(5)
    assert broker.news_fd() is None
    assert broker.has_news()
    assert broker.pulse() == 0.02
    client.acl_deluser("old")


# -- trouble


def test_unreachable_server_is_named_with_the_line_that_helps(
    open_broker: Open,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    broker = open_broker(port=port, password="geheim", host="127.0.0.1", db=3)
    for verb in (broker.queue_size, broker.ping, partial(broker.enqueue, "a")):
        with pytest.raises(BrokerUnavailable) as caught:
            verb()
        text = str(caught.value)
        assert f"Redis broker at 127.0.0.1:{port}/3 (connection refused)" in text
        assert 'Q_CLUSTER = {"orm": "default"}' in text
        assert "geheim" not in text


def test_wrong_password_is_said_without_it(open_broker: Open) -> None:
    with pytest.raises(BrokerUnavailable, match="password") as caught:
        open_broker(username="nobody", password="geheim").queue_size()
    assert "geheim" not in str(caught.value)


def test_refused_command_is_named(open_broker: Open, client: Any) -> None:
    client.acl_setuser(
        "poor",
        enabled=True,
        passwords=["+plain"],
        keys=["*"],
        commands=["+@all", "-evalsha", "-eval"],
    )
    with pytest.raises(BrokerError, match=r"refuses: .*evalsha"):
        open_broker(username="poor", password="plain").enqueue("a")
    client.acl_deluser("poor")


def test_server_that_says_nothing_is_given_up(
    redis_server: RedisServer, open_broker: Open
) -> None:
    assert redis_server.process is not None
    broker = open_broker(socket_timeout=0.2)
    broker.queue_size()
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(BrokerUnavailable, match=r"(?i)time"):
            broker.queue_size()
    finally:
        redis_server.process.send_signal(signal.SIGCONT)
    assert broker.queue_size() == 0


def test_silence_is_noticed_within_fifteen_seconds_unless_told_otherwise(
    open_broker: Open, redis_server: RedisServer
) -> None:
    assert 5 < where(open_broker())["socket_timeout"] < 15
    assert where(open_broker(socket_timeout=60))["socket_timeout"] == 60


def test_server_that_was_restarted_is_given_its_scripts_again(q_settings: Any) -> None:
    if RedisServer.programs() is None:
        pytest.skip("redis-server is not installed")
    with RedisServer() as server:
        q_settings(redis=server.url, orm=None)
        with closing(Redis("restarted")) as broker:
            broker.enqueue("kept", task_id="a")
            server.restart()
            assert broker.enqueue("kept", task_id="a") == "a"
            assert [d.package for d in broker.dequeue(5)] == ["kept"]


def test_server_whose_memory_is_full_can_be_emptied(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    """Nothing new comes in; all that waits can be taken, kept, given back, finished."""
    for number in range(4):
        broker.enqueue(str(number), task_id=str(number))
    broker.enqueue("delayed", task_id="delayed", delay=0.001)
    enlisted(broker)
    lost = enlisted(open_broker(), 0.05)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable, match="memory"):
            broker.enqueue("refused", task_id="refused")
        receipts = [str(delivery.receipt) for delivery in broker.dequeue(3)]
        assert broker.renew(receipts) == set(receipts)
        again = broker.redeliver(receipts[0])
        assert again is not None
        broker.mark_started([str(again.receipt)])
        assert broker.release(receipts[1:]) == set(receipts[1:])
        assert broker.acknowledge(str(again.receipt))
        assert len(lost.dequeue(5)) == 4
        rescuer = enlisted(open_broker(), 0.05)
        wait_until(rescuer.rescue)
        assert len(rescuer.dequeue(5)) == 4
    finally:
        client.config_set("maxmemory", 0)


def test_server_that_may_lose_the_queue_is_told_of(broker: Redis, client: Any) -> None:
    assert broker.cautions() == []
    for setting, value, said in (
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy is allkeys-lru"),
        ("appendonly", "no", "appendonly is off"),
    ):
        before = client.config_get(setting)
        client.config_set(setting, value)
        try:
            [caution] = broker.cautions()
        finally:
            client.config_set(setting, before[setting])
        assert said in caution
        assert str(where(broker)["port"]) in caution


def test_server_that_does_not_tell_about_itself_is_not_judged(
    open_broker: Open, client: Any
) -> None:
    client.acl_setuser(
        "shy", enabled=True, passwords=["+p"], keys=["*"], commands=["+@all", "-info"]
    )
    assert open_broker(username="shy", password="p").cautions() == []
    client.acl_deluser("shy")


# -- bounds


def test_packages_travel_in_portions() -> None:
    small = [Consignment("x", "shop")] * (MOST_AT_ONCE + 1)
    assert [len(load) for load in loads(small)] == [MOST_AT_ONCE, 1]
    large = [Consignment("x" * (LARGEST_LOAD - 1), "shop")] * 2
    assert [len(load) for load in loads(large)] == [1, 1]
    assert list(loads([])) == []


def test_fetch_stops_at_a_size(broker: Redis) -> None:
    for _ in range(3):
        broker.enqueue("x" * (LARGEST_LOAD // 2 + 1))
    taken: list[Delivery] = broker.dequeue(3)
    assert len(taken) == 2
    assert len(broker.dequeue(3)) == 1


def test_vital_signs_of_a_site_whose_name_is_a_pattern(broker: Redis) -> None:
    broker.set_stat("django_q:a[b]*?^-\\c:cluster:1", "mine", 60)
    broker.set_stat("django_q:ab:cluster:1", "another's", 60)
    assert broker.get_stats("django_q:a[b]*?^-\\c:cluster:*") == ["mine"]


# -- screens


def printed(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out)
    return " ".join(out.getvalue().split())


@pytest.mark.django_db
def test_screens_show_a_cluster_and_its_queue(broker: Redis) -> None:
    queue = broker.short_key
    # Clusters of other tests, which have ended, are shown for a while.
    broker.connection.flushdb()
    Stat.of(cluster_id=uuid.uuid4(), pid=7, queue=queue, workers=[8, 9]).publish(
        broker, 60
    )
    for number in range(3):
        broker.enqueue(str(number))
    broker.dequeue(1)
    snapshot = take_snapshot(broker)
    [figures] = snapshot.queues
    assert (figures.name, figures.waiting, figures.locked) == (queue, 2, 1)
    assert len(figures.clusters) == 1
    for screen in ("qinfo", "qmonitor"):
        assert broker.info() in printed(screen)
    assert "Clusters 1 Workers 2" in printed("qinfo")


@pytest.mark.django_db
def test_screens_say_where_they_looked(q_settings: Any) -> None:
    q_settings(orm=None, redis={"host": "127.0.0.1", "port": free_port()})
    with pytest.raises(CommandError, match=r"Redis broker at 127\.0\.0\.1"):
        printed("qinfo")
