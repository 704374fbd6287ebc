"""IronMQ: what is sent to it, renewed reservations, and what to do about refusals.

On the server of tests/benches/iron_server.py; see tests/contract/test_ironmq.py.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from django_q.brokers import Broker, get_broker, iron_client
from django_q.brokers.base import Consignment, Delivery
from django_q.brokers.front import in_service
from django_q.brokers.iron_client import Iron
from django_q.brokers.ironmq import LONGEST_DELAY, IronMQBroker
from django_q.conf import Conf
from django_q.exceptions import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    PackageTooLarge,
)
from tests.benches.iron_server import IronServer
from tests.servers import free_port


@pytest.fixture
def server() -> Iterator[IronServer]:
    with IronServer() as server:
        yield server


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iron_client, "PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def broker(server: IronServer, q_settings: Any) -> Iterator[IronMQBroker]:
    q_settings(orm=None, iron_mq=server.settings, retry=60, poll=0.02)
    with closing(IronMQBroker("shop")) as broker:
        yield broker


@pytest.fixture
def colleague(broker: IronMQBroker) -> Iterator[IronMQBroker]:
    """Another process of the same cluster."""
    with closing(IronMQBroker("shop")) as colleague:
        yield colleague


def take(broker: Broker, count: int = 1) -> list[Delivery]:
    return [Delivery.of(pair) for pair in broker.dequeue(count) or []]


def receipts_in(taken: list[Delivery]) -> list[str]:
    return [str(delivery.receipt) for delivery in taken]


def said(server: IronServer, verb: str, end: str) -> list[Any]:
    return [b for v, path, b in server.said if v == verb and path.endswith(end)]


# -- the settings


def test_setting_iron_mq_chooses_it(broker: IronMQBroker) -> None:
    chosen = get_broker("shop")
    assert type(chosen) is IronMQBroker
    assert chosen.info() == "IronMQ"


def test_host_is_that_of_version_3_unless_named() -> None:
    client = Iron({"token": "t", "project_id": "p"})
    assert (client.host, client.port) == ("mq-aws-us-east-1-1.iron.io", 443)
    assert client.is_secure


def test_environment_tells_what_the_setting_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("IRON_TOKEN", "general")
    monkeypatch.setenv("IRON_MQ_TOKEN", "special")
    monkeypatch.setenv("IRON_PROJECT_ID", "p")
    assert iron_client.in_environment() == {"token": "special", "project_id": "p"}
    assert Iron({"host": "mq.internal"}).host == "mq.internal"


def test_what_the_setting_lacks_is_named() -> None:
    with pytest.raises(ConfigurationError, match="lacks 'token' and 'project_id'"):
        Iron({"host": "mq.internal"})


# -- what is sent


def test_reservation_is_as_long_as_retry(
    broker: IronMQBroker, server: IronServer
) -> None:
    broker.enqueue("package")
    broker.dequeue(3)
    [order] = said(server, "POST", "/queues/shop/reservations")
    assert order == {"n": 3, "timeout": 60, "wait": 1, "delete": False}


@pytest.mark.parametrize(("retry", "length"), [(0.5, 30), (90.2, 91), (10**6, 86_400)])
def test_reservation_is_within_the_limits_of_the_service(
    broker: IronMQBroker, q_settings: Any, retry: float, length: int
) -> None:
    q_settings(retry=retry)
    assert broker.lease_length == length


def test_cluster_does_not_wait_in_the_service_and_asks_once_a_second(
    broker: IronMQBroker, server: IronServer
) -> None:
    serving = in_service(broker)
    serving.enlist("0" * 32, 60)
    assert serving.can_renew
    assert serving.dequeue(500) == []
    [order] = said(server, "POST", "/reservations")
    assert (order["wait"], order["n"]) == (0, 100)
    assert serving.pulse() == 1
    serving.close()


def test_cluster_asks_again_at_once_while_there_are_more_than_a_hundred(
    broker: IronMQBroker,
) -> None:
    broker.enqueue_many([Consignment(str(n), "shop") for n in range(101)])
    serving = in_service(broker)
    serving.enlist("0" * 32, 60)
    assert len(serving.dequeue(500) or []) == 100
    assert serving.pulse() < 0.01
    assert serving.has_news()
    assert len(serving.dequeue(500) or []) == 1
    assert serving.pulse() == 1
    serving.close()


def test_many_packages_go_by_the_hundred(
    broker: IronMQBroker, server: IronServer
) -> None:
    broker.enqueue_many([Consignment(str(n), "shop") for n in range(230)])
    sent = said(server, "POST", "/queues/shop/messages")
    assert [len(body["messages"]) for body in sent] == [100, 100, 30]
    taken = [d for _ in range(3) for d in take(broker, 100)]
    broker.acknowledge_many(receipts_in(taken))
    deleted = said(server, "DELETE", "/messages")
    assert [len(body["ids"]) for body in deleted] == [100, 100, 30]
    assert broker.queue_size() + broker.lock_size() == 0


def test_queue_may_have_any_name(broker: IronMQBroker) -> None:
    with closing(IronMQBroker("a/b c?d#ü")) as odd:
        odd.enqueue("package")
        assert odd.peek(5) == ["package"]
        assert take(odd)[0].package == "package"


def test_peeking_at_none_asks_nothing(broker: IronMQBroker, server: IronServer) -> None:
    assert broker.peek(0) == []
    assert not server.said


def test_connection_is_kept(broker: IronMQBroker, server: IronServer) -> None:
    for _ in range(5):
        broker.ping()
    assert server.lines == 1


def test_many_are_delayed(broker: IronMQBroker, server: IronServer) -> None:
    later, late = Consignment("later", "shop", delay=4.2), LONGEST_DELAY + 1
    broker.enqueue_many([later, Consignment("now", "shop")])
    assert [delivery.package for delivery in take(broker, 2)] == ["now"]
    server.skipped += 5.1
    assert [delivery.package for delivery in take(broker, 2)] == ["later"]
    with pytest.raises(BrokerError, match="seven days"):
        broker.enqueue_many([Consignment("too late", "shop", delay=late)])


def test_delay_is_seven_days_at_most(broker: IronMQBroker) -> None:
    broker.enqueue("just so", delay=LONGEST_DELAY)
    with pytest.raises(BrokerError, match="seven days"):
        broker.enqueue("too long", delay=LONGEST_DELAY + 1)


# -- reservations


def test_renewed_reservation_is_another_one_for_whoever_renewed_it(
    broker: IronMQBroker, server: IronServer
) -> None:
    broker.enqueue("long task")
    receipts = receipts_in(take(broker))
    for _ in range(3):
        server.skipped += 50
        assert broker.renew(receipts) == set(receipts)
    shown = [body["reservation_id"] for body in said(server, "POST", "/touch")]
    assert len(set(shown)) == 3
    broker.acknowledge(receipts[0])
    assert broker.lock_size() == 0


def test_message_whose_reservation_was_renewed_is_removed_by_who_renewed_it(
    broker: IronMQBroker, colleague: IronMQBroker
) -> None:
    broker.enqueue_many([Consignment(str(n), "shop") for n in range(3)])
    receipts = receipts_in(take(broker, 3))
    broker.renew(receipts[1:])
    assert colleague.acknowledge_many(receipts) == set(receipts)
    assert broker.lock_size() == 2
    broker.settle(receipts)
    assert broker.lock_size() == 0
    assert colleague.acknowledge_many(receipts) == set(receipts)


@pytest.mark.parametrize(
    "act",
    [lambda broker: broker.renew([]), IronMQBroker.dequeue, IronMQBroker.close],
    ids=["renew", "dequeue", "close"],
)
def test_renewed_message_is_removed_when_the_service_is_back(
    broker: IronMQBroker, server: IronServer, act: Callable[[IronMQBroker], object]
) -> None:
    broker.enqueue("long")
    receipts = receipts_in(take(broker))
    broker.renew(receipts)
    server.busy = 4
    broker.settle(receipts)
    assert broker.lock_size() == 1
    act(broker)
    assert broker.lock_size() == 0


def test_message_that_a_colleague_gives_back_after_a_renewal_waits_for_its_end(
    broker: IronMQBroker, colleague: IronMQBroker, server: IronServer
) -> None:
    broker.enqueue("flaky")
    receipts = receipts_in(take(broker))
    broker.renew(receipts)
    assert colleague.release(receipts, delay=4.2, failed=True) == set(receipts)
    assert take(broker) == []
    server.skipped += 61
    [again] = take(broker)
    assert (again.deliveries, again.attempts) == (2, 1)
    broker.acknowledge(str(again.receipt))
    assert colleague.release(receipts) == set()


def test_message_is_given_back_for_a_while(
    broker: IronMQBroker, server: IronServer
) -> None:
    broker.enqueue("flaky")
    broker.release(receipts_in(take(broker)), delay=4.2, failed=True)
    assert take(broker) == []
    server.skipped += 5.1
    assert len(take(broker)) == 1


def test_waiting_message_is_removed_by_the_id_that_enqueue_gave(
    broker: IronMQBroker,
) -> None:
    given = broker.enqueue("unwanted")
    broker.enqueue("wanted")
    broker.delete(given)
    assert broker.peek() == ["wanted"]


def test_renewing_tells_which_reservations_are_over(
    broker: IronMQBroker, colleague: IronMQBroker, server: IronServer
) -> None:
    broker.enqueue_many([Consignment(str(n), "shop") for n in range(3)])
    over, done, kept = receipts_in(take(broker, 3))
    broker.acknowledge(done)
    server.skipped += 50
    broker.renew([kept])
    server.skipped += 20
    assert len(take(colleague, 3)) == 1
    assert broker.renew([over, done, kept]) == {kept}


def test_reservation_that_ended_is_still_acknowledged(
    broker: IronMQBroker, server: IronServer
) -> None:
    """Its task is done, and nobody else has it."""
    broker.enqueue("slow")
    receipts = receipts_in(take(broker))
    server.skipped += 61
    broker.acknowledge(receipts[0])
    assert broker.queue_size() + broker.lock_size() == 0


# -- refusals and outages


@pytest.mark.parametrize(
    ("wrong", "status", "hint"),
    [
        ({"token": "falsch"}, 401, "Check 'token' in Q_CLUSTER['iron_mq']"),
        ({"project_id": "other"}, 403, "may use the project 'project_id'"),
    ],
)
def test_refusal_says_what_to_do(
    broker: IronMQBroker,
    server: IronServer,
    q_settings: Any,
    wrong: dict[str, str],
    status: int,
    hint: str,
) -> None:
    q_settings(iron_mq={**server.settings, **wrong})
    for act in (IronMQBroker("shop").ping, lambda: IronMQBroker("s").enqueue("x")):
        with pytest.raises(BrokerError, match=rf"refuses \({status}\)") as caught:
            act()
        assert hint in str(caught.value)
        assert "falsch" not in str(caught.value)
        assert not isinstance(caught.value, BrokerUnavailable)


def test_busy_service_is_asked_again(broker: IronMQBroker, server: IronServer) -> None:
    server.busy = 3
    assert broker.enqueue("package")
    assert broker.queue_size() == 1


def test_service_that_stays_busy_is_an_outage(
    broker: IronMQBroker, server: IronServer
) -> None:
    server.busy = 4
    with pytest.raises(BrokerUnavailable, match="503"):
        broker.enqueue("package")
    assert len(server.said) == 4
    assert broker.queue_size() == 0


def test_service_that_cannot_be_reached_is_named_with_the_setting(
    q_settings: Any, server: IronServer
) -> None:
    port = free_port()
    q_settings(orm=None, iron_mq={**server.settings, "port": port})
    with pytest.raises(BrokerUnavailable, match=f"127.0.0.1:{port}") as caught:
        IronMQBroker("shop").ping()
    assert "Check 'host' in Q_CLUSTER['iron_mq']" in str(caught.value)
    assert 'Q_CLUSTER = {"orm": "default"}' in str(caught.value)


def test_package_whose_answer_was_lost_is_not_sent_again(
    broker: IronMQBroker, server: IronServer
) -> None:
    broker.ping()
    server.deaf_to = "/messages"
    with pytest.raises(BrokerUnavailable):
        broker.enqueue("package")
    assert broker.queue_size() == 1


def test_what_may_be_said_twice_is_said_again_on_a_new_connection(
    broker: IronMQBroker, server: IronServer
) -> None:
    broker.enqueue("package")
    [receipt] = receipts_in(take(broker))
    server.deaf_to = "/messages"
    with pytest.raises(BrokerUnavailable):
        broker.acknowledge(receipt)
    assert len(said(server, "DELETE", "/messages")) == 2
    server.deaf_to = ""
    assert broker.acknowledge(receipt)
    assert broker.lock_size() == 0


def test_connection_that_was_idle_is_not_trusted(
    broker: IronMQBroker, server: IronServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iron_client, "LONGEST_IDLE", -1.0)
    broker.ping()
    broker.enqueue("package")
    assert server.lines == 2


@pytest.mark.parametrize("status", [400, 413])
def test_package_that_is_too_large_says_so(
    broker: IronMQBroker, server: IronServer, status: int
) -> None:
    server.largest, server.too_large = 64 * 1024, status
    with pytest.raises(PackageTooLarge, match=r"68 KiB.*64 or 256 KiB") as caught:
        broker.enqueue("x" * 70_000)
    assert "Pass a file name or an id" in str(caught.value)
    assert broker.queue_size() == 0


def test_many_packages_go_in_requests_of_a_size_that_every_plan_allows(
    broker: IronMQBroker, server: IronServer
) -> None:
    sizes = (30_000, 30_000, 30_000, 90_000, 10)
    broker.enqueue_many([Consignment("x" * size, "shop") for size in sizes])
    sent = said(server, "POST", "/queues/shop/messages")
    assert [len(body["messages"]) for body in sent] == [2, 1, 1, 1]
    assert [len(taken.package) for taken in take(broker, 5)] == list(sizes)


def test_forbidden_project_is_not_taken_for_an_empty_queue(
    broker: IronMQBroker, server: IronServer, q_settings: Any
) -> None:
    q_settings(iron_mq={**server.settings, "project_id": "of others"})
    with closing(IronMQBroker("shop")) as stranger:
        for look in (stranger.queue_size, stranger.peek, stranger.purge_queue):
            with pytest.raises(BrokerError, match="may use the project 'project_id'"):
                look()


def test_other_web_server_is_not_taken_for_ironmq(
    broker: IronMQBroker, server: IronServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_request: Any) -> tuple[int, Any]:
        return 404, "<html>There is nothing here.</html>"

    monkeypatch.setattr(server, "serve", refuse)
    with pytest.raises(BrokerError, match=r"refuses \(404\)") as caught:
        broker.ping()
    assert "Check 'project_id' and 'host' in Q_CLUSTER['iron_mq']" in str(caught.value)


def test_bad_request_says_what_ironmq_says(
    broker: IronMQBroker, server: IronServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = (400, {"msg": "Push queues can't be asked"})
    monkeypatch.setattr(server, "serve", lambda *_request: answer)
    with pytest.raises(BrokerError, match=r"\(400\): Push queues can't") as caught:
        broker.dequeue()
    assert "Check that the queue is a pull queue" in str(caught.value)


def test_server_that_says_nothing_is_given_up(
    broker: IronMQBroker, q_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iron_client, "ANSWERS_WITHIN", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        q_settings(iron_mq={**(Conf.IRON_MQ or {}), "port": port})
        asked, given_up = IronMQBroker("shop"), pytest.raises(BrokerUnavailable)
        with closing(asked), given_up as caught:
            asked.ping()
    assert "timed out" in str(caught.value)
    assert f"127.0.0.1:{port}" in str(caught.value)


def test_protocol_of_another_server_is_an_outage_that_names_the_setting(
    broker: IronMQBroker, server: IronServer, q_settings: Any
) -> None:
    q_settings(iron_mq={**server.settings, "protocol": "https"})
    asked, given_up = IronMQBroker("shop"), pytest.raises(BrokerUnavailable)
    with closing(asked), given_up as caught:
        asked.ping()
    assert "Q_CLUSTER['iron_mq']" in str(caught.value)
