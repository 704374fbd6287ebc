"""Disque: what its commands are asked with, several nodes, and what to do about refusals.

On the server of tests/benches/disque_server.py; see tests/contract/test_disque.py.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest

from django_q.brokers import (
    Broker,
    disque_call,
    disque_client,
    disque_jobs,
    get_broker,
)
from django_q.brokers.base import Consignment, Delivery
from django_q.brokers.disque import Disque
from django_q.brokers.disque_client import address_in
from django_q.brokers.disque_jobs import LONGEST_DELAY, LONGEST_RETRY
from django_q.brokers.disque_jobs import LONGEST_LIFE as MINUTES
from django_q.brokers.front import in_service
from django_q.exceptions import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    PackageTooLarge,
)
from tests.benches.disque_server import DisqueServer, Jobs
from tests.servers import free_port
from tests.waiting import wait_until

LONGEST_LIFE = MINUTES * 60


@pytest.fixture
def node() -> Iterator[DisqueServer]:
    with DisqueServer() as server:
        yield server


@pytest.fixture
def broker(node: DisqueServer, q_settings: Any) -> Iterator[Disque]:
    q_settings(orm=None, disque_nodes=[node.address], retry=30, poll=0.02)
    with closing(Disque("shop")) as broker:
        yield broker


def take(broker: Broker, count: int = 1) -> list[Delivery]:
    return [Delivery.of(pair) for pair in broker.dequeue(count) or []]


def receipts_in(taken: list[Delivery]) -> list[str]:
    return [str(delivery.receipt) for delivery in taken]


def said(node: DisqueServer, verb: str) -> list[list[str]]:
    return [words[1:] for words in node.said if words[0] == verb]


# -- the settings


def test_setting_disque_nodes_chooses_it(broker: Disque) -> None:
    chosen = get_broker("shop")
    with closing(chosen):
        assert type(chosen) is Disque
        assert chosen.info() == "Disque 1.0-rc1"


def test_queue_is_called_like_the_cluster(
    broker: Disque, node: DisqueServer, q_settings: Any
) -> None:
    q_settings(name="site", cluster_name="fast")
    with closing(get_broker()) as of_cluster:
        of_cluster.enqueue("package")
    assert said(node, "ADDJOB")[0][:2] == ["fast", "package"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("disque.internal:7712", ("disque.internal", 7712)),
        ("10.0.0.1", ("10.0.0.1", 7711)),
        ("[::1]:7713", ("::1", 7713)),
        ("[::1]", ("::1", 7711)),
    ],
)
def test_address_of_a_node_is_host_and_port(text: str, address: Any) -> None:
    assert address_in(text) == address


@pytest.mark.parametrize("text", ["a:b", "a:", ":7711", "a:65536", "a:-1", "a:¹"])
def test_address_that_is_none_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"'{text}' is not host:port"):
        address_in(text)


def test_password_is_sent(node: DisqueServer, broker: Disque, q_settings: Any) -> None:
    node.password = "geheim"
    q_settings(disque_auth="geheim")
    with closing(Disque("shop")) as knowing:
        assert knowing.ping()


@pytest.mark.parametrize("password", [None, "falsch"])
def test_wrong_password_says_which_setting_and_not_what_it_is(
    node: DisqueServer, broker: Disque, q_settings: Any, password: str | None
) -> None:
    node.password = "geheim"
    q_settings(disque_auth=password)
    hint = r"Set Q_CLUSTER\['disque_auth'\]"
    unknowing = Disque("shop")
    with closing(unknowing), pytest.raises(BrokerError, match=hint) as caught:
        unknowing.ping()
    assert not isinstance(caught.value, BrokerUnavailable)
    assert "falsch" not in str(caught.value)


def test_password_that_nobody_wants_is_to_be_removed(
    broker: Disque, q_settings: Any
) -> None:
    q_settings(disque_auth="geheim")
    hint = r"Remove Q_CLUSTER\['disque_auth'\]"
    with closing(Disque("shop")) as knowing, pytest.raises(BrokerError, match=hint):
        knowing.ping()


# -- what is asked for


def test_job_is_retried_after_the_setting_and_lives_as_long_as_it_can(
    broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("package")
    [(_queue, _package, _timeout, *options)] = said(node, "ADDJOB")
    assert options == ["RETRY", "30", "TTL", str(LONGEST_LIFE)]


@pytest.mark.parametrize("retry", [0.2, None, 0])
def test_retry_is_never_zero_which_would_be_at_most_once(
    broker: Disque, node: DisqueServer, q_settings: Any, retry: float | None
) -> None:
    q_settings(retry=retry)
    broker.enqueue("package")
    options = said(node, "ADDJOB")[0]
    assert int(options[options.index("RETRY") + 1]) >= 1


def test_retry_is_shorter_than_the_life_of_a_job_however_long_it_is(
    broker: Disque, node: DisqueServer, q_settings: Any
) -> None:
    q_settings(retry=LONGEST_LIFE * 2)
    broker.enqueue("package")
    options = said(node, "ADDJOB")[0]
    assert options[options.index("RETRY") + 1] == str(LONGEST_RETRY)
    [caution] = broker.cautions()
    assert "'retry'] is longer than the 11 days" in caution


def test_delay_is_less_than_the_life_however_long_it_is(
    broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("package", delay=LONGEST_DELAY - 0.5)
    assert take(broker) == []
    node.jobs.skip(LONGEST_DELAY + 1)
    assert take(broker)[0].package == "package"


def test_delay_that_the_nodes_can_not_count_is_refused(broker: Disque) -> None:
    with pytest.raises(BrokerError, match=f"{LONGEST_DELAY} are the most"):
        broker.enqueue("package", delay=LONGEST_DELAY + 1)


@pytest.mark.parametrize("queue", ["with blank", "FROM", "Käse 🧀", "a:b/{c}*", "0"])
def test_queue_may_have_any_name(broker: Disque, queue: str) -> None:
    with closing(Disque(queue)) as odd:
        odd.enqueue("package")
        assert odd.peek() == ["package"]
        assert queue in broker.queues()
        odd.pause()
        assert take(odd) == []
        odd.resume()
        assert len(take(odd)) == 1
        odd.enqueue("another")
        odd.purge_queue()
        assert (odd.queue_size(), odd.lock_size()) == (0, 0)


def test_fetch_asks_for_so_many_with_their_counters(
    broker: Disque, node: DisqueServer
) -> None:
    broker.dequeue(7)
    words = said(node, "GETJOB")[0]
    assert words == ["TIMEOUT", "20", "COUNT", "7", "WITHCOUNTERS", "FROM", "shop"]


def test_acknowledgement_is_fast_where_the_setting_says_so(
    broker: Disque, node: DisqueServer, q_settings: Any
) -> None:
    job = broker.enqueue("package")
    [receipt] = receipts_in(take(broker))
    broker.acknowledge(receipt)
    q_settings(disque_fastack=True)
    broker.acknowledge(receipt)
    assert said(node, "ACKJOB") == said(node, "FASTACK") == [[job]]


# -- what comes back, and when


def test_time_of_a_job_runs_from_when_it_was_taken(
    broker: Disque, node: DisqueServer
) -> None:
    """The server counts from when it was queued."""
    broker.enqueue("waited long")
    node.jobs.skip(29)
    assert len(take(broker)) == 1
    node.jobs.skip(29)
    assert take(broker) == []


def test_job_that_is_worked_on_does_not_come_back(
    broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("long task")
    receipts = receipts_in(take(broker))
    for _ in range(5):
        node.jobs.skip(20)
        assert broker.renew(receipts) == set(receipts)
    assert take(broker) == []


def test_renewing_tells_which_jobs_are_done(broker: Disque) -> None:
    broker.enqueue_many([Consignment("a", "shop"), Consignment("b", "shop")])
    done, kept = receipts_in(take(broker, 2))
    broker.acknowledge(done)
    assert broker.renew([done, kept]) == {kept}
    assert broker.renew([]) == set()


def test_job_in_the_second_half_of_its_life_is_still_ours_and_comes_again(
    broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("old")
    node.jobs.skip(LONGEST_LIFE / 2 + 1)
    receipts = receipts_in(take(broker))
    assert broker.renew(receipts) == set(receipts)
    node.jobs.skip(31)
    assert len(take(broker)) == 1


def test_failure_counts_and_giving_back_does_not(
    broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("flaky")
    broker.release(receipts_in(take(broker)))
    [second] = take(broker)
    broker.release(receipts_in([second]), failed=True)
    [third] = take(broker)
    assert (second.deliveries, second.attempts) == (2, 0)
    assert (third.deliveries, third.attempts) == (3, 1)


def test_release_with_a_delay_puts_a_later_job_in_its_place(
    broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("flaky")
    receipts = receipts_in(take(broker))
    assert broker.release(receipts, delay=4.2, failed=True) == set(receipts)
    assert take(broker) == []
    assert broker.release(receipts, delay=4.2, failed=True) == set()
    node.jobs.skip(5.1)
    assert [each.package for each in take(broker, 5)] == ["flaky"]
    assert len(node.jobs.jobs) == 1


def test_later_job_tells_of_the_failures_of_the_former_ones(
    broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("flaky")
    for failures in range(4):
        [delivery] = take(broker)
        assert (delivery.attempts, delivery.deliveries) == (failures, failures + 1)
        delay = failures % 2
        broker.release(receipts_in([delivery]), delay=delay, failed=True)
        node.jobs.skip(delay + 0.1)


def test_job_of_another_life_has_not_failed(broker: Disque) -> None:
    """A producer of an earlier release leaves the server's default."""
    connection = broker.connection
    connection.execute_command("ADDJOB", "shop", "from elsewhere", 0, "RETRY", 30)
    [delivery] = take(broker)
    assert (delivery.attempts, delivery.deliveries) == (0, 1)


def test_cluster_renews_and_does_not_wait_in_the_server(
    broker: Disque, node: DisqueServer
) -> None:
    serving = in_service(broker)
    assert serving.can_renew
    assert serving.lease_length == 30
    serving.enlist("0" * 32, 30)
    assert serving.dequeue(2) == []
    assert said(node, "GETJOB")[0][0] == "NOHANG"


# -- an idle cluster


@pytest.fixture
def make_idle(q_settings: Any) -> Iterator[Callable[[], Disque]]:
    """Clusters that have found nothing, and wait."""
    made = []

    def make() -> Disque:
        made.append(Disque("shop"))
        made[-1].enlist(uuid4().hex, 30)
        assert take(made[-1], 5) == []
        assert not made[-1].has_news()
        return made[-1]

    yield make
    for idle in made:
        idle.close()


@pytest.fixture
def idle(broker: Disque, make_idle: Callable[[], Disque]) -> Disque:
    return make_idle()


def is_readable(descriptor: int | None, within: float = 10) -> bool:
    assert descriptor is not None
    return bool(select.select([descriptor], [], [], within)[0])


def test_idle_cluster_has_one_question_open_and_does_not_ask_again_and_again(
    idle: Disque, node: DisqueServer
) -> None:
    wait_until(lambda: len(said(node, "GETJOB")) == 2)
    for _ in range(20):
        assert not idle.has_news()
        assert take(idle, 5) == []
    asked = said(node, "GETJOB")
    assert [words[0] for words in asked] == ["NOHANG", "TIMEOUT"]
    assert asked[1] == ["TIMEOUT", "15000", "WITHCOUNTERS", "FROM", "shop"]


def test_idle_cluster_is_called_and_takes_all_that_has_come(
    idle: Disque, broker: Disque
) -> None:
    descriptor = idle.news_fd()
    assert not is_readable(descriptor, 0)
    broker.enqueue_many([Consignment(str(n), "shop") for n in range(7)])
    assert is_readable(descriptor)
    assert idle.has_news()
    assert [each.package for each in take(idle, 5)] == list("01234")
    assert idle.has_news(), "it did not find all"
    assert [each.package for each in take(idle, 5)] == list("56")


def test_cluster_that_found_all_it_has_room_for_asks_for_no_more(
    idle: Disque, broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("package")
    wait_until(idle.has_news)
    assert len(take(idle, 1)) == 1
    asked = len(said(node, "GETJOB"))
    assert idle.has_news()
    assert idle.news_fd() is None
    assert len(said(node, "GETJOB")) == asked


def test_question_is_asked_again_when_nothing_came(
    broker: Disque,
    node: DisqueServer,
    make_idle: Callable[[], Disque],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disque_call, "LONGEST_WAIT", 0.02)
    idle = make_idle()
    wait_until(lambda: not idle.has_news() and len(said(node, "GETJOB")) > 3)


def test_stopping_cluster_takes_its_question_back(idle: Disque, broker: Disque) -> None:
    idle.close()
    broker.enqueue("after the end")
    assert broker.queue_size() == 1


def test_answer_that_comes_at_the_end_is_given_back(
    idle: Disque, broker: Disque
) -> None:
    broker.enqueue("at the end")
    assert is_readable(idle.news_fd())
    assert broker.queue_size() == 0
    idle.close()
    assert broker.queue_size() == 1


def test_answer_that_was_heard_but_not_taken_is_given_back(
    idle: Disque, broker: Disque
) -> None:
    broker.enqueue("at the end")
    wait_until(idle.has_news)
    idle.close()
    assert broker.queue_size() == 1


def test_answer_that_is_read_late_is_left_to_whoever_has_the_job_now(
    idle: Disque,
    broker: Disque,
    node: DisqueServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever dies with an unread answer loses nothing either."""
    broker.enqueue("slept over")
    assert is_readable(idle.news_fd())
    node.jobs.skip(31)
    [delivery] = take(broker)
    assert (delivery.package, delivery.deliveries) == ("slept over", 2)
    monkeypatch.setattr(disque_call, "monotonic", lambda: time.monotonic() + 31)
    assert idle.has_news()
    assert take(idle) == []
    idle.close()
    assert broker.queue_size() == 0


def test_taken_job_is_ours_from_the_call_on(
    idle: Disque, broker: Disque, node: DisqueServer
) -> None:
    broker.enqueue("called for")
    wait_until(idle.has_news)
    assert len(take(idle)) == 1
    node.jobs.skip(29)
    assert take(broker) == []
    assert len(said(node, "WORKING")) == 1


def test_cluster_whose_node_dies_waits_at_another_one(
    pair: list[DisqueServer],
    make_idle: Callable[[], Disque],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disque_call, "REST", 0)
    idle = make_idle()
    node, other = in_use(pair)
    node.stop()
    wait_until(lambda: take(idle) == [] and not idle.has_news())
    with closing(Disque("shop")) as broker:
        broker.enqueue("news")
    assert is_readable(idle.news_fd())
    assert said(other, "GETJOB")[-1][0] == "TIMEOUT"
    assert take(idle)[0].package == "news"


def test_cluster_whose_node_leaves_the_others_goes_as_well(
    pair: list[DisqueServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disque_call, "REST", 0)
    with closing(Disque("shop")) as broker:
        broker.enlist(uuid4().hex, 30)
        take(broker)
        node, other = in_use(pair)
        node.leaving = True

        def waits_there() -> bool:
            take(broker)
            broker.has_news()
            asked = said(other, "GETJOB")
            return bool(asked) and asked[-1][0] == "TIMEOUT"

        wait_until(waits_there)


def test_cluster_looks_again_and_again_while_no_node_lets_it_wait(
    idle: Disque, broker: Disque, node: DisqueServer
) -> None:
    node.leaving = True
    idle.close()
    assert take(idle) == []
    wait_until(idle.has_news)
    assert idle.news_fd() is None
    assert idle.pulse() == 0.02
    asked = len(said(node, "GETJOB"))
    assert idle.has_news()
    assert len(said(node, "GETJOB")) == asked, "it rests"
    broker.enqueue("all the same")
    assert len(take(idle)) == 1


def test_nobody_is_called_while_the_queue_is_paused(
    idle: Disque, broker: Disque
) -> None:
    broker.pause()
    broker.enqueue("meanwhile")
    assert not idle.has_news()
    broker.resume()
    assert is_readable(idle.news_fd())


# -- the queue as a whole


def test_queue_is_emptied_of_all_that_waits_is_delayed_or_handed_out(
    broker: Disque, node: DisqueServer
) -> None:
    for number in range(7):
        broker.enqueue(str(number), delay=100 * (number > 4))
    take(broker, 2)
    broker.purge_queue()
    assert node.jobs.jobs == {}


def test_packages_can_be_looked_at(broker: Disque) -> None:
    for number in range(3):
        broker.enqueue(str(number))
    assert (broker.peek(2), broker.peek(-1)) == (["0", "1"], ["2"])
    assert broker.queue_size() == 3
    assert broker.queues() == ["shop"]


def test_paused_queue_gives_nothing_and_takes_nothing(broker: Disque) -> None:
    broker.enqueue("before")
    assert broker.pause_as("all") == "all"
    assert take(broker) == []
    with pytest.raises(BrokerUnavailable, match="PAUSED"):
        broker.enqueue("meanwhile")
    [caution] = broker.cautions()
    assert "is paused (all): send PAUSE shop none bcast" in caution
    assert broker.pause_as("none") == "none"
    assert broker.cautions() == []
    assert len(take(broker)) == 1


# -- several nodes


@pytest.fixture
def pair(q_settings: Any) -> Iterator[list[DisqueServer]]:
    jobs = Jobs()
    with DisqueServer(jobs) as one, DisqueServer(jobs) as two:
        addresses = [one.address, two.address]
        q_settings(orm=None, disque_nodes=addresses, retry=30, poll=0.02)
        yield [one, two]


def in_use(pair: list[DisqueServer]) -> tuple[DisqueServer, DisqueServer]:
    """The node that was talked to last, and the other one."""
    return (pair[0], pair[1]) if pair[0].said else (pair[1], pair[0])


def test_nodes_are_tried_in_random_order(pair: list[DisqueServer]) -> None:
    for _ in range(30):
        with closing(Disque("shop")) as broker:
            broker.ping()
    assert all(node.said for node in pair)


def test_node_that_is_down_is_passed_over(
    pair: list[DisqueServer], q_settings: Any
) -> None:
    down = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    q_settings(disque_nodes=[*down, pair[0].address])
    with closing(Disque("shop")) as broker:
        assert broker.enqueue("package")


def test_another_node_goes_on_when_one_dies(pair: list[DisqueServer]) -> None:
    with closing(Disque("shop")) as broker:
        broker.enqueue("package")
        in_use(pair)[0].stop()
        assert take(broker) == []
        pair[0].jobs.skip(31)
        [receipt] = receipts_in(take(broker))
        assert broker.renew([receipt]) == {receipt}
        broker.acknowledge(receipt)
        assert broker.lock_size() == 0


def test_job_that_one_node_of_several_does_not_know_is_not_given_up(
    pair: list[DisqueServer],
) -> None:
    with closing(Disque("shop")) as broker:
        broker.enqueue("package")
        [receipt] = receipts_in(take(broker))
        pair[0].jobs.jobs.clear()
        assert broker.renew([receipt]) == {receipt}


def test_package_whose_answer_was_lost_is_not_queued_again(
    pair: list[DisqueServer],
) -> None:
    with closing(Disque("shop")) as broker:
        for node in pair:
            node.deaf_to.add("ADDJOB")
        with pytest.raises(BrokerUnavailable):
            broker.enqueue("package")
        with pytest.raises(BrokerUnavailable):
            broker.enqueue_many([Consignment("another", "shop")])
        assert broker.queue_size() == 2


def test_what_may_be_said_twice_is_said_to_another_node(
    pair: list[DisqueServer],
) -> None:
    with closing(Disque("shop")) as broker:
        broker.enqueue("package")
        node, other = in_use(pair)
        node.deaf_to.add("PAUSE")
        assert broker.is_paused() is False
        assert len(take(broker)) == 1
        assert said(other, "GETJOB")


def test_job_whose_delivery_was_lost_comes_back(pair: list[DisqueServer]) -> None:
    with closing(Disque("shop")) as broker:
        broker.enqueue("package")
        node, _other = in_use(pair)
        node.deaf_to.add("GETJOB")
        assert take(broker) == []
        assert broker.lock_size() == 1
        pair[0].jobs.skip(31)
        assert len(take(broker)) == 1


def at_each(pair: list[DisqueServer], q_settings: Any) -> None:
    """Queue a job at each node, and a delayed one."""
    for node in pair:
        q_settings(orm=None, disque_nodes=[node.address], retry=30, poll=0.02)
        with closing(Disque("shop")) as broker:
            broker.enqueue(node.address)
            broker.enqueue("later", delay=60)
    nodes = [node.address for node in pair]
    q_settings(orm=None, disque_nodes=nodes, retry=30, poll=0.02)


def test_what_waits_at_any_node_is_counted_and_shown_once(
    pair: list[DisqueServer], q_settings: Any
) -> None:
    at_each(pair, q_settings)
    with closing(Disque("shop")) as broker:
        assert (broker.queue_size(), broker.lock_size()) == (2, 2)
        assert broker.peek() == [node.address for node in pair]
        assert len(broker.peek(1)) == 1
        assert broker.queues() == ["shop"]
        assert len(take(broker, 5)) == 1, "first those of the own node"
        assert (broker.queue_size(), broker.lock_size()) == (1, 3)


def test_queue_is_emptied_on_all_nodes(
    pair: list[DisqueServer], q_settings: Any
) -> None:
    at_each(pair, q_settings)
    with closing(Disque("shop")) as broker:
        broker.purge_queue()
    assert pair[0].jobs.jobs == {}


def test_sizes_are_those_of_the_nodes_that_can_be_reached(
    pair: list[DisqueServer], q_settings: Any
) -> None:
    at_each(pair, q_settings)
    with closing(Disque("shop")) as broker:
        pair[1].stop()
        assert [broker.queue_size() for _ in range(2)] == [1, 1]
        pair[0].stop()
        with pytest.raises(BrokerUnavailable, match="Can't reach"):
            broker.queue_size()


def test_cluster_waits_at_each_node(
    pair: list[DisqueServer], make_idle: Callable[[], Disque], q_settings: Any
) -> None:
    pair[0].jobs.is_slow = True
    idle = make_idle()
    for node in pair * 2:
        assert not idle.has_news()
        q_settings(disque_nodes=[node.address])
        with closing(Disque("shop")) as broker:
            broker.enqueue(node.address)
        assert is_readable(idle.news_fd())
        assert idle.has_news()
        assert [each.package for each in take(idle, 5)] == [node.address]
        assert idle.pulse() == 1


def test_no_more_than_asked_for_is_taken_of_what_several_nodes_bring(
    pair: list[DisqueServer], make_idle: Callable[[], Disque], q_settings: Any
) -> None:
    pair[0].jobs.is_slow = True
    idle = make_idle()
    at_each(pair, q_settings)
    with closing(Disque("shop")) as broker:
        wait_until(lambda: broker.queue_size() == 0)
        wait_until(lambda: idle.has_news() and len(pair[0].said) > 0)
        taken = [take(idle, 1) for _ in range(2)]
        assert [len(some) for some in taken] == [1, 1]
        assert broker.lock_size() == 4


def test_cluster_that_stops_gives_back_what_each_node_brought(
    pair: list[DisqueServer], make_idle: Callable[[], Disque], q_settings: Any
) -> None:
    pair[0].jobs.is_slow = True
    idle = make_idle()
    at_each(pair, q_settings)
    with closing(Disque("shop")) as broker:
        wait_until(lambda: broker.queue_size() == 0)
        idle.close()
        assert broker.queue_size() == 2


@pytest.mark.parametrize("has_failed", [False, True])
@pytest.mark.parametrize("delay", [0, 10])
def test_node_that_knows_a_job_is_told_what_becomes_of_it(
    pair: list[DisqueServer], q_settings: Any, has_failed: bool, delay: float
) -> None:
    for node in pair:
        node.has_copies = False
    at_each(pair, q_settings)
    with closing(Disque("shop")) as broker:
        receipts = [receipts_in(take(broker, 1))[0] for _ in range(2)]
        for _ in range(5):
            pair[0].jobs.skip(20)
            assert broker.renew(receipts) == set(receipts)
        assert [d.package for d in take(broker, 5)] == ["later", "later"]
        broker.release(receipts, failed=has_failed, delay=delay)
        pair[0].jobs.skip(delay)
        taken = take(broker, 5) + take(broker, 5)
        assert [each.attempts for each in taken] == [has_failed, has_failed]


def test_job_that_is_offered_again_already_is_given_back_to_no_other_node(
    pair: list[DisqueServer],
) -> None:
    with closing(Disque("shop")) as broker:
        broker.enqueue("package")
        receipts = receipts_in(take(broker))
        _node, other = in_use(pair)
        pair[0].jobs.skip(31)
        broker.ping()
        broker.release(receipts)
        assert broker.queue_size() == 1
        assert not said(other, "ENQUEUE")


def test_node_that_is_back_is_counted_again(
    pair: list[DisqueServer], q_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_each(pair, q_settings)
    down = f"127.0.0.1:{free_port()}"
    q_settings(disque_nodes=[pair[0].address, down])
    with closing(Disque("shop")) as broker:
        assert broker.queue_size() == 1
        jobs = pair[0].jobs
        with DisqueServer(jobs, port=int(down.partition(":")[2])) as back:
            jobs.skip(61)
            assert broker.queue_size() == 3
            assert not back.said
            later = time.monotonic() + 31
            monkeypatch.setattr(disque_client, "monotonic", lambda: later)
            assert broker.queue_size() == 3
            assert said(back, "QLEN")


def test_node_that_leaves_is_left(pair: list[DisqueServer]) -> None:
    with closing(Disque("shop")) as broker:
        broker.ping()
        node, other = in_use(pair)
        node.leaving = True
        assert take(broker) == []
        assert other.said


def test_refusal_of_one_node_is_no_refusal_of_the_others(
    pair: list[DisqueServer],
) -> None:
    with closing(Disque("shop")) as broker:
        broker.ping()
        node, other = in_use(pair)
        node.refusal = "OOM command not allowed when used memory > 'maxmemory'."
        assert broker.enqueue("package")
        assert said(other, "ADDJOB")
        assert broker.queue_size() == 1


def test_full_node_is_not_left_with_the_jobs_that_it_knows(
    pair: list[DisqueServer],
) -> None:
    with closing(Disque("shop")) as broker:
        broker.enqueue("package")
        receipts = receipts_in(take(broker))
        node, other = in_use(pair)
        node.refusal = "OOM command not allowed when used memory > 'maxmemory'."
        with pytest.raises(BrokerUnavailable, match="maxmemory"):
            broker.release(receipts, failed=True)
        assert broker.renew(receipts) == set(receipts)
        assert not other.said


def test_many_packages_of_which_one_is_refused_go_to_no_other_node(
    pair: list[DisqueServer],
) -> None:
    """Those that were not refused are on the queue."""
    with closing(Disque("shop")) as broker:
        broker.ping()
        node, other = in_use(pair)
        node.refusal = "MISCONF Errors writing to the AOF file: No space left on device"
        with pytest.raises(BrokerUnavailable, match="look after its disk"):
            broker.enqueue_many([Consignment("package", "shop")])
        assert not said(other, "ADDJOB")


def test_all_nodes_that_are_down_are_named(pair: list[DisqueServer]) -> None:
    for node in pair:
        node.stop()
    broker = Disque("shop")
    with closing(broker), pytest.raises(BrokerUnavailable) as caught:
        broker.enqueue("package")
    assert all(node.address in str(caught.value) for node in pair)


# -- refusals


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "`maxmemory`"),
        ("MISCONF Errors writing to the AOF file: full", "look after its disk"),
    ],
)
def test_refusal_that_may_pass_says_what_to_do(
    broker: Disque, node: DisqueServer, refusal: str, advice: str
) -> None:
    node.refusal = refusal
    with pytest.raises(BrokerUnavailable, match=advice):
        broker.enqueue("package")


def test_nodes_that_are_missing_for_the_copies_are_to_be_started_or_forgotten(
    broker: Disque, node: DisqueServer
) -> None:
    node.jobs.size = 2
    with pytest.raises(BrokerUnavailable, match=r"NOREPL.*CLUSTER FORGET"):
        broker.enqueue("package")


def test_server_that_is_no_disque_is_named_with_the_setting(broker: Disque) -> None:
    hint = r"unknown command.*'disque_nodes'\] is to name servers of Disque"
    with pytest.raises(BrokerError, match=hint):
        broker.connection.execute_command("BRPOP", "shop", 0)


def test_package_that_is_too_large_is_not_sent(
    broker: Disque, node: DisqueServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disque_jobs, "LARGEST_JOB", 10)
    broker.enqueue("x" * 10)
    with pytest.raises(PackageTooLarge, match=r"11 bytes.*10 at most"):
        broker.enqueue("x" * 11)
    assert len(said(node, "ADDJOB")) == 1


@pytest.mark.parametrize(("size", "keeps_file"), [(1, True), (2, False)])
def test_jobs_that_outlive_a_node_are_no_cause_for_caution(
    broker: Disque, node: DisqueServer, size: int, keeps_file: bool
) -> None:
    node.jobs.size, node.keeps_file = size, keeps_file
    assert broker.cautions() == []


def test_single_node_that_keeps_no_file_is_cautioned_about(
    broker: Disque, node: DisqueServer
) -> None:
    node.keeps_file = False
    [caution] = broker.cautions()
    assert "a restart loses them all" in caution
    assert "`appendonly`" in caution


def test_server_that_is_down_is_named_with_the_setting(q_settings: Any) -> None:
    port = free_port()
    q_settings(orm=None, disque_nodes=[f"127.0.0.1:{port}"])
    broker = Disque("shop")
    with closing(broker), pytest.raises(BrokerUnavailable) as caught:
        broker.enqueue("package")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "Q_CLUSTER['disque_nodes']" in str(caught.value)
    assert 'Q_CLUSTER = {"orm": "default"}' in str(caught.value)


def test_ping_says_in_the_log_that_nobody_answers(
    q_settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("django-q"), "propagate", True)
    q_settings(orm=None, disque_nodes=[f"127.0.0.1:{free_port()}"])
    with closing(Disque("shop")) as broker, pytest.raises(BrokerUnavailable):
        broker.ping()
    assert "Can't reach the Disque broker" in caplog.text


def test_too_few_nodes_are_an_outage_and_the_package_is_not_shown(
    broker: Disque, node: DisqueServer
) -> None:
    node.jobs.reachable = 0
    for enqueue in (
        lambda: broker.enqueue("secret"),
        lambda: broker.enqueue_many([Consignment("secret", "shop")]),
    ):
        with pytest.raises(BrokerUnavailable, match="NOREPL") as caught:
            enqueue()
        assert "secret" not in str(caught.value)


def test_receipt_that_is_none_is_refused(broker: Disque) -> None:
    with pytest.raises(BrokerError, match="BADID"):
        broker.acknowledge("nonsense")
