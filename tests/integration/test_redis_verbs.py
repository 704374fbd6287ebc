"""Priority, cancelling, peeking and pausing on Redis: beside others, and in bad moments."""

from __future__ import annotations

import random
import select
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis import Redis as Client

from django_q.brokers import Consignment
from django_q.brokers.loads import LARGEST_LOAD, MOST_AT_ONCE
from django_q.brokers.redis_broker import Redis
from django_q.brokers.redis_finding import CANCEL
from django_q.brokers.redis_keys import beside
from django_q.exceptions import BrokerError, BrokerUnavailable
from tests.servers import RedisServer
from tests.waiting import wait_until

Open = Callable[[], Redis]


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """A producer or consumer that knows the list only."""
    with Client.from_url(redis_server.url) as client:
        yield client
        client.flushdb()


@pytest.fixture
def open_broker(
    client: Any, redis_server: RedisServer, q_settings: Any
) -> Iterator[Open]:
    """Brokers on one queue, each for a cluster of its own."""
    q_settings(redis=redis_server.url, orm=None, poll=0.01)
    queue = f"verbs-{uuid.uuid4().hex[:8]}"
    opened: list[Redis] = []

    def open_one() -> Redis:
        opened.append(Redis(queue))
        opened[-1].enlist(uuid.uuid4().hex, 30)
        return opened[-1]

    yield open_one
    for broker in opened:
        with suppress(BrokerError):
            broker.close()


@pytest.fixture
def broker(open_broker: Open) -> Redis:
    return open_broker()


def keys_of(broker: Redis, client: Any) -> set[str]:
    start = broker.list_key.removesuffix("q")
    return {key.decode().removeprefix(start) for key in client.keys(f"{start}*")}


def next_ones(broker: Redis, count: int = 50) -> list[str]:
    return [delivery.package for delivery in broker.dequeue(count)]


def receipts(broker: Redis, count: int = 50) -> list[str]:
    return [str(delivery.receipt) for delivery in broker.dequeue(count)]


def blocked(client: Any) -> int:
    return int(client.info("clients")["blocked_clients"])


def idle(broker: Redis, client: Any) -> int:
    """The broker finds nothing and waits to be called; gives where the call comes."""
    before = blocked(client)
    assert broker.dequeue(5) == []
    call = broker.news_fd()
    assert call is not None
    wait_until(lambda: blocked(client) == before + 1)
    return call


def is_called(call: int) -> bool:
    return bool(select.select([call], [], [], 10)[0])


# -- whoever is idle is called


@pytest.mark.parametrize("priority", [5, -5])
def test_package_with_a_priority_wakes_an_idle_cluster(
    broker: Redis, open_broker: Open, client: Any, priority: int
) -> None:
    call, other = idle(broker, client), open_broker()
    other.enqueue("ranked", task_id="a", priority=priority)
    assert is_called(call)
    assert (other.queue_size(), other.lock_size()) == (1, 0)
    assert other.peek() == ["ranked"]
    [delivery] = broker.dequeue(5)
    assert (delivery.package, delivery.deliveries) == ("ranked", 1)


def test_each_of_several_packages_wakes_somebody(
    open_broker: Open, client: Any
) -> None:
    brokers = [open_broker() for _ in range(3)]
    calls = {idle(broker, client): broker for broker in brokers}
    queue = brokers[0].short_key
    ranked = [Consignment(str(n), queue, str(n), 0, n) for n in (1, 3, 2)]
    open_broker().enqueue_many(ranked)
    taken = []
    for _ in brokers:
        [call, *_rest], _, _ = select.select(calls, [], [], 10)
        taken += next_ones(calls.pop(call), 1)
    assert taken == ["3", "2", "1"]


def test_package_that_is_given_back_with_its_priority_wakes_an_idle_cluster(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    broker.enqueue("ranked", priority=5)
    mine, other = receipts(broker), open_broker()
    call = idle(other, client)
    broker.release(mine)
    assert is_called(call)
    assert next_ones(other) == ["ranked"]


def test_what_woke_a_cluster_is_taken_in_its_turn(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    idle(broker, client)
    other = open_broker()
    for package, priority in (("low", -5), ("0", 0), ("also low", -5), ("high", 5)):
        other.enqueue(package, priority=priority)
    client.rpush(broker.list_key, "also 0")
    assert other.peek() == ["high", "0", "also 0", "low", "also low"]
    assert next_ones(broker) == ["high", "0", "also 0", "low", "also low"]


def test_what_woke_several_clusters_keeps_its_order(
    open_broker: Open, client: Any
) -> None:
    brokers = [open_broker() for _ in range(3)]
    for broker in brokers:
        idle(broker, client)
    for number in range(5):
        client.rpush(brokers[0].list_key, str(number))
    assert next_ones(brokers[2]) == ["0", "1", "2", "3", "4"]


# -- beside those who know the list only


def test_plain_packages_stand_between_high_and_low_ones(
    broker: Redis, client: Any
) -> None:
    for number in range(3):
        client.rpush(broker.list_key, f"old {number}")
        broker.enqueue(f"high {number}", priority=1)
        broker.enqueue(f"low {number}", priority=-1)
        broker.enqueue(f"new {number}")
    assert client.llen(broker.list_key) == 6
    assert next_ones(broker) == [
        *("high 0", "high 1", "high 2"),
        *("old 0", "new 0", "old 1", "new 1", "old 2", "new 2"),
        *("low 0", "low 1", "low 2"),
    ]


def test_old_consumer_gets_the_best_of_the_ranked_when_nothing_else_waits(
    broker: Redis, client: Any
) -> None:
    broker.enqueue("middle", task_id="a", priority=2)
    broker.enqueue("high", task_id="b", priority=3)
    assert client.llen(broker.list_key) == 1
    assert client.lpop(broker.list_key) == b"middle"
    assert next_ones(broker) == ["high"]


def test_package_pushed_by_an_old_producer_is_behind_the_one_that_stands_in(
    broker: Redis, client: Any
) -> None:
    """The list holds one of the ranked while nothing else is there."""
    broker.enqueue("low", priority=-1)
    client.rpush(broker.list_key, "old")
    broker.enqueue("high", priority=1)
    broker.release(receipts(broker, 1))
    assert next_ones(broker) == ["high", "old", "low"]


def test_bulk_has_delays_and_priorities(broker: Redis) -> None:
    queue = broker.short_key
    broker.enqueue_many(
        [
            Consignment("late", queue, "1", 600, 9),
            Consignment("plain", queue, "2"),
            Consignment("soon", queue, "3", 0.05, 0),
            Consignment("soon and high", queue, "4", 0.05, 9),
            Consignment("too high", queue, "5", 0, 1000),
            Consignment("high", queue, "6", 0, 99),
        ]
    )
    wait_until(lambda: broker.queue_size() == 5)
    order = ["too high", "high", "soon and high", "soon", "plain"]
    assert broker.peek() == order
    assert next_ones(broker) == order
    assert broker.lock_size() == 6


# -- a priority stays with its package


def test_priority_survives_redelivery_counted_starts_and_rescue(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    broker.enqueue("crashed", task_id="a", priority=3)
    [delivery] = broker.dequeue(5)
    again = broker.redeliver(str(delivery.receipt))
    assert again is not None
    broker.mark_started([str(again.receipt)])
    client.rpush(broker.list_key, "plain")
    lapse(broker, client)
    rescuer = open_broker()
    rescuer.enlist(uuid.uuid4().hex, 0.05)
    [text] = wait_until(rescuer.rescue)
    assert text.startswith("task a from")
    first, second = rescuer.dequeue(5)
    assert (first.package, second.package) == ("crashed", "plain")
    assert (first.deliveries, first.starts, first.rescues) == (3, 2, 1)


def test_failed_package_goes_behind_its_equals(broker: Redis) -> None:
    for package in ("flaky", "fine"):
        broker.enqueue(package, priority=3)
    broker.enqueue("plain")
    broker.release(receipts(broker, 1), failed=True)
    assert next_ones(broker) == ["fine", "flaky", "plain"]


def lapse(broker: Redis, client: Any) -> None:
    key = beside(broker.list_key, "clusters")
    for cluster in client.zrange(key, 0, -1):
        client.zadd(key, {cluster: 0})


def test_what_the_version_before_wrote_is_read(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    """Its slips have no priority, and what woke its clusters was theirs."""
    key, dead = broker.list_key, uuid.uuid4().hex
    client.rpush(key, "counted")
    digest = client.eval("return redis.sha1hex('counted')", 0).decode()
    client.hset(beside(key, "deliveries"), digest, "2 1 0 1 an id of words")
    client.zadd(beside(key, "later"), {"token3 1 0 1 0 retry\nretried": 1})
    client.hset(beside(key, f"held:{dead}"), "token:00000", "1 0 0 0 x\nheld")
    client.rpush(beside(key, f"move:{dead}"), "moved")
    client.zadd(beside(key, "clusters"), {dead: 1})
    rescuer = open_broker()
    rescuer.enlist(uuid.uuid4().hex, 0.05)
    [text] = wait_until(rescuer.rescue)
    assert text.startswith("task x from")
    taken = [(d.package, d.deliveries, d.rescues) for d in broker.dequeue(9)]
    assert taken == [
        ("retried", 2, 0),
        ("held", 2, 1),
        ("moved", 1, 0),
        ("counted", 3, 1),
    ]


# -- cancelling


def test_task_is_found_wherever_it_stands_in_a_long_list(broker: Redis) -> None:
    numbers = range(2500)
    broker.enqueue_many(
        [Consignment(f"{n}", broker.short_key, f"{n}") for n in numbers]
    )
    gone = {0, 1, 999, 1000, 1250, 1500, 2498, 2499}
    for number in gone:
        assert broker.cancel(str(number))
    left = [str(number) for number in numbers if number not in gone]
    assert next_ones(broker, 5000) == left


def test_task_is_found_soon_by_when_it_came(broker: Redis, client: Any) -> None:
    """Also between packages of which nothing is known, and behind some given back."""
    connection, key, queue = broker.connection, broker.list_key, broker.short_key
    for start in range(0, 12_000, 1000):
        numbers = range(start, start + 1000)
        broker.enqueue_many([Consignment(f"{n}", queue, f"{n}") for n in numbers])
        client.rpush(key, f"old {start}")
    back = receipts(broker, 3000)
    broker.release(back)
    for number in (0, 2999, 3000, 5500, 7000, 11_999):
        answers = [CANCEL(connection, key, str(number), seen) for seen in (0, 1000)]
        assert answers in ([-1000, 1], [1, 0])
    assert broker.queue_size() == 12_006


def test_task_is_found_although_the_list_moves_meanwhile(
    broker: Redis, client: Any
) -> None:
    numbers = range(3000)
    broker.enqueue_many(
        [Consignment(f"{n}", broker.short_key, f"{n}") for n in numbers]
    )
    connection, key = broker.connection, broker.list_key
    assert CANCEL(connection, key, "1500", 1) == -1001
    first = receipts(broker, 1200)
    client.rpush(key, *["pushed"] * 700)
    assert CANCEL(connection, key, "1500", 1001) == -2001
    broker.release(first)
    assert CANCEL(connection, key, "1500", 2001) == 1
    assert "1500" not in next_ones(broker, 5000)


def test_packages_of_the_same_bytes_keep_their_ids_apart(
    broker: Redis, client: Any
) -> None:
    queue, names = broker.short_key, ["a", "b", "c", "d"]
    broker.enqueue_many([Consignment("same", queue, name) for name in names])
    assert broker.cancel("b")
    places = beside(broker.list_key, "places")
    assert set(client.hkeys(places)) == {b"a", b"c", b"d"}
    first, *rest = receipts(broker)
    broker.release([first])
    assert not broker.cancel("c")
    assert broker.cancel("a")
    broker.acknowledge_many(rest)
    assert keys_of(broker, client) == {"clusters"}


def test_package_that_has_just_woken_a_cluster_can_be_cancelled(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    for priority in (0, 5):
        call, other = idle(broker, client), open_broker()
        other.enqueue("news", task_id="a", priority=priority)
        assert is_called(call)
        assert other.cancel("a")
        assert other.queue_size() == 0
        assert broker.has_news()
    assert keys_of(broker, client) == {"clusters"}


def test_next_one_wakes_whoever_is_idle_when_the_first_is_cancelled(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    for name in ("a", "b"):
        broker.enqueue(name, task_id=name, priority=5)
    assert broker.cancel("a")
    assert client.lrange(broker.list_key, 0, -1) == [b"b"]
    assert open_broker().peek() == ["b"]


def test_task_that_an_old_consumer_took_is_not_cancelled_and_is_forgotten(
    broker: Redis, client: Any
) -> None:
    broker.enqueue("taken", task_id="a")
    client.lpop(broker.list_key)
    assert broker.cancel("a") is False
    broker.enqueue("again", task_id="a")
    assert next_ones(broker) == ["again"]


@pytest.mark.parametrize("priority", [0, 5])
def test_task_in_hand_is_not_mistaken_for_one_that_waits(
    broker: Redis, priority: int
) -> None:
    broker.enqueue("a", task_id="a", priority=priority)
    broker.dequeue(1)
    # It stands where the first one stood.
    broker.enqueue("b", task_id="b", priority=priority)
    assert broker.cancel("a") is False
    assert broker.peek() == ["b"]
    assert len(broker.held()) == 1


def test_id_may_be_of_any_characters(broker: Redis) -> None:
    for name in ("two words", "tab\t5", "new\nline", "[^%d]*", "Ü"):
        broker.enqueue(f"package of {name}", task_id=name)
        broker.enqueue("other", task_id=f"{name}!", priority=5)
        assert broker.cancel(name)
        assert broker.cancel(f"{name}!")
    assert broker.queue_size() == 0


# -- pausing


def test_resuming_calls_all_who_are_idle(open_broker: Open, client: Any) -> None:
    brokers = [open_broker() for _ in range(2)]
    brokers[0].pause()
    calls = [idle(broker, client) for broker in brokers]
    client.rpush(brokers[0].list_key, "0", "1")
    assert not any(broker.has_news() for broker in brokers)
    assert client.lrange(brokers[0].list_key, 0, -1) == [b"0", b"1"]
    brokers[0].resume()
    assert all(is_called(call) for call in calls)
    assert [next_ones(broker, 1) for broker in brokers] == [["0"], ["1"]]


def test_package_that_wakes_a_cluster_of_a_paused_queue_waits_in_its_place(
    open_broker: Open, client: Any
) -> None:
    """They began to wait before the pause, and learn of it with what wakes them."""
    brokers = [open_broker() for _ in range(2)]
    calls = [idle(broker, client) for broker in brokers]
    brokers[0].pause()
    for number in range(4):
        client.rpush(brokers[0].list_key, str(number))
    assert all(is_called(call) for call in calls)
    for broker in brokers:
        assert broker.has_news()
        assert idle(broker, client)
    assert brokers[0].queue_size() == 4
    assert brokers[0].peek() == ["0", "1", "2", "3"]
    brokers[1].resume()
    assert next_ones(brokers[0]) == ["0", "1", "2", "3"]


def test_package_with_a_priority_wakes_nobody_while_the_queue_is_paused(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    call, other = idle(broker, client), open_broker()
    other.pause()
    other.enqueue("ranked", priority=5)
    assert not broker.has_news()
    other.resume()
    assert is_called(call)
    assert next_ones(broker) == ["ranked"]


def test_cluster_that_is_about_to_wait_hears_that_the_queue_was_resumed(
    broker: Redis, open_broker: Open
) -> None:
    broker.pause()
    assert broker.dequeue(5) == []
    open_broker().resume()
    call = broker.news_fd()
    assert call is not None
    assert is_called(call)


def test_old_consumer_takes_from_a_paused_queue(broker: Redis, client: Any) -> None:
    broker.pause()
    broker.enqueue("plain")
    assert client.lpop(broker.list_key) == b"plain"


def test_queue_stays_paused_when_it_is_emptied(broker: Redis) -> None:
    broker.pause()
    broker.enqueue("a", priority=1)
    broker.purge_queue()
    assert broker.is_paused()
    assert broker.queue_size() == 0


# -- trouble


def test_server_whose_memory_is_full_can_still_be_looked_at_and_managed(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    for number in range(3):
        broker.enqueue(f"{number}", task_id=f"{number}", priority=number)
    broker.enqueue("due", task_id="due", delay=0.01, priority=9)
    wait_until(lambda: broker.queue_size() == 4)
    idle_one = open_broker()
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(BrokerUnavailable, match="memory"):
            broker.enqueue("refused", priority=1)
        assert broker.peek() == ["due", "2", "1", "0"]
        broker.pause()
        assert idle_one.dequeue(5) == []
        broker.resume()
        assert broker.cancel("0")
        assert broker.cancel("due")
        broker.release(receipts(broker))
        broker.enlist(uuid.uuid4().hex, 0.05)
        assert len(broker.dequeue(5)) == 2
        idle_one.enlist(uuid.uuid4().hex, 0.05)
        assert len(wait_until(idle_one.rescue)) == 2
        assert next_ones(idle_one) == ["2", "1"]
    finally:
        client.config_set("maxmemory", 0)


@dataclass
class Crowd:
    """All who do something to one queue at once."""

    count: int = 150
    done: Counter[str] = field(default_factory=Counter)
    cancelled: list[str] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def produce(self, broker: Redis) -> None:
        chance = random.Random(7)
        for number in range(self.count):
            delay = 0.01 if number % 10 == 0 else 0
            name, priority = f"new {number}", chance.choice((-5, 0, 0, 5, 5, 7))
            broker.enqueue(name, task_id=name, delay=delay, priority=priority)

    def produce_as_ever(self, broker: Redis) -> None:
        for number in range(self.count):
            broker.connection.rpush(broker.list_key, f"old {number}")

    def interfere(self, broker: Redis) -> None:
        for number in range(0, self.count, 3):
            (broker.pause if number % 2 else broker.resume)()
            if broker.cancel(f"new {number}"):
                self.cancelled.append(f"new {number}")
        broker.resume()

    def consume(self, broker: Redis) -> None:
        while not self.is_over.is_set():
            taken = broker.dequeue(3)
            mine = [str(delivery.receipt) for delivery in taken]
            broker.release(mine[2:])
            self.done.update(delivery.package for delivery in taken[:2])
            assert broker.acknowledge_many(mine[:2]) == set(mine[:2])
            if not taken and (call := broker.news_fd()) is not None:
                select.select([call], [], [], 0.02)
                broker.has_news()

    def start(self, work: Callable[[Redis], None], broker: Redis) -> threading.Thread:
        def run() -> None:
            try:
                work(broker)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self.errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def has_ended(self) -> bool:
        ended = self.done.total() + len(self.cancelled)
        return bool(self.errors) or ended >= 2 * self.count


def test_nothing_is_lost_or_doubled_while_all_do_everything(
    open_broker: Open, client: Any
) -> None:
    """Producers of both kinds, idle and busy clusters, cancelling and pausing."""
    crowd, broker = Crowd(), open_broker()
    works = [
        crowd.produce,
        crowd.produce_as_ever,
        crowd.interfere,
        *[crowd.consume] * 3,
    ]
    threads = [crowd.start(work, open_broker()) for work in works]
    try:
        wait_until(crowd.has_ended, within=30)
    finally:
        crowd.is_over.set()
        for thread in threads:
            thread.join()
    assert not crowd.errors
    kinds, numbers = ("old", "new"), range(crowd.count)
    expected = {f"{kind} {number}" for kind in kinds for number in numbers}
    assert set(crowd.done) | set(crowd.cancelled) == expected
    assert crowd.done.total() + len(crowd.cancelled) == len(expected)
    assert keys_of(broker, client) <= {"clusters", "bell"}


# -- ids of tasks that others took


def test_task_that_an_older_consumer_took_can_be_queued_again(
    broker: Redis, client: Any
) -> None:
    """It may have died with it: this is when a call is repeated."""
    broker.enqueue("a", task_id="t")
    assert client.lpop(broker.list_key) == b"a"
    broker.enqueue("in between", task_id="u")
    broker.enqueue("a", task_id="t")
    assert next_ones(broker) == ["in between", "a"]


def test_last_task_that_an_older_consumer_took_can_be_queued_again(
    broker: Redis, client: Any
) -> None:
    broker.enqueue("a", task_id="t")
    client.lpop(broker.list_key)
    broker.enqueue("a", task_id="t")
    assert next_ones(broker) == ["a"]


@pytest.mark.parametrize("options", [{}, {"priority": 3}, {"delay": 60}], ids=str)
def test_task_that_waits_among_others_is_not_queued_again(
    broker: Redis, client: Any, options: dict[str, Any]
) -> None:
    for number in range(20):
        broker.enqueue(f"{number}", task_id=f"id-{number}", **options)
    client.lpop(broker.list_key)
    client.rpush(broker.list_key, "of an older producer")
    size = broker.queue_size() + broker.lock_size()
    for number in range(1, 20):
        broker.enqueue(f"{number}", task_id=f"id-{number}", **options)
    assert broker.queue_size() + broker.lock_size() == size


def test_task_that_is_held_given_back_or_has_woken_somebody_is_not_queued_again(
    broker: Redis, open_broker: Open, client: Any
) -> None:
    broker.enqueue("held", task_id="held")
    broker.enqueue("back", task_id="back")
    taken = {str(d.package): str(d.receipt) for d in broker.dequeue(2)}
    broker.release([taken["back"]])
    for name in ("held", "back"):
        open_broker().enqueue(name, task_id=name)
    assert (broker.queue_size(), broker.lock_size()) == (1, 1)
    other = open_broker()
    other.acknowledge_many(receipts(other))
    idle(other, client)
    broker.enqueue("called", task_id="called")
    wait_until(other.has_news)
    broker.enqueue("called", task_id="called")
    assert next_ones(other) == ["called"]


@pytest.mark.parametrize("options", [{}, {"priority": 3}, {"delay": 0.01}], ids=str)
def test_slot_is_known_for_a_week_after_it_was_queued(
    broker: Redis, client: Any, options: dict[str, Any]
) -> None:
    def queue_and_run() -> int:
        broker.enqueue("slot", task_id="t", once=True, **options)
        wait_until(lambda: not broker.lock_size())
        return len(broker.acknowledge_many(receipts(broker)))

    sent = beside(broker.list_key, "sent")
    assert [queue_and_run(), queue_and_run()] == [1, 0]
    week = 7 * 24 * 3600 * 1000
    client.zincrby(sent, 60_000 - week, "t")
    assert queue_and_run() == 0
    client.zincrby(sent, -week, "t")
    assert queue_and_run() == 1
    client.zincrby(sent, -week, "t")
    broker.rescue_from("nobody")
    assert not client.exists(sent)


def test_id_of_a_slot_is_known_to_slots_only(broker: Redis, client: Any) -> None:
    """Whoever queues it again by its id wants it to run again."""
    broker.enqueue("plain", task_id="t")
    broker.acknowledge_many(receipts(broker))
    assert "sent" not in keys_of(broker, client)
    for once in (True, False):
        broker.enqueue("slot", task_id="t", once=once)
        assert len(broker.acknowledge_many(receipts(broker))) == 1


def test_slot_that_could_not_be_queued_is_not_taken_for_queued(
    broker: Redis, client: Any
) -> None:
    client.set(broker.list_key, "no list")
    with pytest.raises(Exception, match="WRONGTYPE"):
        broker.enqueue("slot", task_id="t", once=True)
    client.delete(broker.list_key)
    broker.enqueue("slot", task_id="t", once=True)
    assert next_ones(broker) == ["slot"]


def test_delay_below_zero_is_none(broker: Redis) -> None:
    broker.enqueue("now", delay=-5, priority=3)
    assert next_ones(broker) == ["now"]


# -- many at once


PORTIONS = 40
"""Packages that no script moves in one command."""


def test_same_bytes_under_many_ids_keep_their_ids_and_counts_apart(
    broker: Redis, client: Any
) -> None:
    for number in range(PORTIONS):
        broker.enqueue("same", task_id=f"a{number}")
        broker.enqueue(f"other {number}", task_id=f"b{number}")
    first = broker.dequeue(PORTIONS)
    assert [d.deliveries for d in first] == [1] * PORTIONS
    broker.release([str(delivery.receipt) for delivery in first[:7]])
    again = broker.dequeue(2 * PORTIONS)
    assert [d.deliveries for d in again] == [2] * 7 + [1] * PORTIONS
    packages = [delivery.package for delivery in (*first[7:], *again)]
    others = [f"other {number}" for number in range(PORTIONS)]
    assert sorted(packages) == sorted([*others, *["same"] * PORTIONS])
    assert not client.exists(beside(broker.list_key, "deliveries"))
    receipts = [str(delivery.receipt) for delivery in (*first[7:], *again)]
    assert broker.acknowledge_many(receipts) == set(receipts)
    assert not client.exists(beside(broker.list_key, "places"))


def test_what_does_not_fit_any_more_keeps_its_place_and_its_counts(
    broker: Redis,
) -> None:
    large = "x" * (LARGEST_LOAD // 2 + 1)
    broker.enqueue("small", task_id="a")
    for number in range(4):
        broker.enqueue(large, task_id=f"b{number}")
    broker.enqueue("last", task_id="c")
    taken = [broker.dequeue(PORTIONS) for _ in range(3)]
    assert [len(some) for some in taken] == [3, 2, 1]
    assert all(d.deliveries == 1 for some in taken for d in some)
    assert broker.queue_size() == 0
    assert broker.lock_size() == 6


def test_acknowledging_many_says_which_were_ours(broker: Redis) -> None:
    for number in range(PORTIONS):
        broker.enqueue(f"{number}", task_id=f"a{number}")
    ours = [str(delivery.receipt) for delivery in broker.dequeue(PORTIONS)]
    mixed = [each for one in ours[1:] for each in (one, f"not {one}", one)]
    assert broker.acknowledge_many(mixed) == set(ours[1:])
    assert broker.acknowledge_many(ours) == {ours[0]}
    assert broker.lock_size() == 0


@pytest.mark.parametrize(
    "others",
    [
        [("a1", "again")],
        [("b1", "known id"), ("known", "known id")],
        [("b1", "same"), ("b2", "same")],
        [("b1", "known bytes")],
        [("", "no id")],
        [],
    ],
)
def test_load_has_each_id_once_and_all_packages_in_their_order(
    broker: Redis, client: Any, others: list[tuple[str, str]]
) -> None:
    broker.enqueue("known bytes", task_id="known")
    new = [(f"a{n}", f"{n}") for n in range(MOST_AT_ONCE - len(others))]
    load = [
        Consignment(package, broker.short_key, name) for name, package in new + others
    ]
    broker.enqueue_many(load)
    expected = ["known bytes", *(package for _, package in new)]
    expected += [p for name, p in others if name not in {"a1", "known"}]
    taken = broker.dequeue(2 * MOST_AT_ONCE)
    assert [delivery.package for delivery in taken] == expected
    assert broker.acknowledge_many([str(d.receipt) for d in taken])
    assert client.keys(f"{broker.list_key.removesuffix(':q')}*") == [
        beside(broker.list_key, "clusters").encode()
    ]


def test_tasks_of_a_load_can_be_cancelled(broker: Redis) -> None:
    load = [Consignment(f"{n}", broker.short_key, f"a{n}") for n in range(PORTIONS)]
    broker.enqueue_many(load)
    assert all(broker.cancel(f"a{n}") for n in range(PORTIONS - 1))
    assert not broker.cancel("a0")
    assert [delivery.package for delivery in broker.dequeue(5)] == [f"{PORTIONS - 1}"]
