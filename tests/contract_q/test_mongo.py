"""MongoDB: its documents, who else reads them, replica sets, and what to do about refusals.

On the server of tests/benches/mongo_server.py; see tests/contract/test_mongo.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, InvalidOperation

from django_q.brokers import Broker, get_broker, mongo_session, signboard
from django_q.brokers.base import Consignment, Delivery
from django_q.brokers.mongo import Mongo
from django_q.brokers.mongo_client import address_of, connect
from django_q.conf import Conf
from django_q.exceptions import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    PackageTooLarge,
    UnknownReceipt,
)
from django_q.options import Options
from django_q.tasks.enqueue import keep_broker
from tests.benches.mongo_server import MongoServer, Refusal
from tests.forked import another_process
from tests.servers import free_port
from tests.waiting import wait_until

CLUSTER, OTHER = "a" * 32, "b" * 32
RETRY = 30


@pytest.fixture
def server() -> Iterator[MongoServer]:
    with MongoServer() as server:
        yield server


@pytest.fixture
def broker(server: MongoServer, q_settings: Any) -> Iterator[Mongo]:
    q_settings(orm=None, mongo=server.settings, retry=RETRY, poll=0.02)
    with closing(Mongo("shop")) as broker:
        yield broker


@pytest.fixture
def raw(server: MongoServer) -> Iterator[Any]:
    """The collection, as other programs see it."""
    client: MongoClient[Any] = MongoClient(**server.settings)
    with closing(client):
        yield client["django-q"]["shop"]


def take(broker: Broker, count: int = 1) -> list[Delivery]:
    return [Delivery.of(pair) for pair in broker.dequeue(count) or []]


def receipts_in(taken: list[Delivery]) -> list[str]:
    return [str(delivery.receipt) for delivery in taken]


def said(server: MongoServer, verb: str) -> list[dict[str, Any]]:
    return [question for question in server.said if next(iter(question)) == verb]


# -- the settings


def test_setting_mongo_chooses_it(broker: Mongo) -> None:
    with closing(get_broker("shop")) as chosen:
        assert type(chosen) is Mongo
        assert chosen.info() == "MongoDB 7.0.0"


@pytest.mark.parametrize(
    ("mongo", "mongo_db", "name"),
    [
        ({"host": "mongodb://a:1,b:2/tasks?w=1"}, None, "tasks"),
        ({"host": ["mongodb://a/tasks.x", "b"]}, None, "tasks"),
        ({"host": "mongodb://a/tasks"}, "named", "named"),
        ({"host": "mongodb://u:p%2F@a"}, None, "django-q"),
        ({"host": "db.internal", "port": 1}, None, "django-q"),
    ],
)
def test_database_is_the_one_named_else_that_of_the_uri(
    q_settings: Any, mongo: Any, mongo_db: str | None, name: str
) -> None:
    q_settings(mongo=mongo, mongo_db=mongo_db)
    assert name == Conf.MONGO_DB


def test_database_of_the_settings_is_used(
    broker: Mongo, server: MongoServer, q_settings: Any
) -> None:
    q_settings(mongo_db="tasks")
    broker.enqueue("package")
    assert said(server, "findAndModify")[0]["$db"] == "tasks"


@pytest.mark.parametrize(
    ("mongo", "address"),
    [
        ({"host": "mongodb://user:geheim@a:1,b:2/tasks"}, "a:1,b:2"),
        ({"host": "mongodb+srv://user:geheim@a.test"}, "a.test:27017"),
        ({"host": "a", "port": 5}, "a:5"),
        ({"username": "x"}, "localhost:27017"),
    ],
)
def test_address_is_told_without_the_password(mongo: Any, address: str) -> None:
    assert address_of(Options(mongo=mongo)) == address


@pytest.mark.parametrize("mongo", [{"hots": "a"}, {"host": "mongodb://a:b:c"}])
def test_keywords_that_the_client_refuses_name_the_setting(mongo: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Q_CLUSTER\['mongo'\] is refused"):
        connect(Options(mongo=mongo))


def test_time_limits_of_a_uri_count() -> None:
    uri = "mongodb://a/?serverSelectionTimeoutMS=7000"
    with closing(connect(Options(mongo={"host": uri}))) as client:
        limits = client.options
        assert limits.server_selection_timeout == 7
        assert limits.pool_options.connect_timeout == 5


def test_confirmations_cannot_be_switched_off(broker: Mongo, q_settings: Any) -> None:
    q_settings(mongo={**(Conf.MONGO or {}), "w": 0})
    with closing(Mongo("shop")) as deaf, pytest.raises(ConfigurationError, match="w=0"):
        deaf.enqueue("package")


@pytest.mark.parametrize("queue", ["a$b", "a..b", ".a"])
def test_queue_that_can_be_no_collection_is_named(broker: Mongo, queue: str) -> None:
    with closing(Mongo(queue)) as odd, pytest.raises(ConfigurationError) as caught:
        odd.enqueue("package")
    assert repr(queue) in str(caught.value)


# -- documents, and others who read them


def test_document_has_payload_and_a_lock_that_is_a_lease_old(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    before = server.data.now()
    given = broker.enqueue("$package")
    [document] = raw.find()
    assert (str(document["_id"]), document["payload"]) == (given, "$package")
    assert document.keys() == {"_id", "payload", "lock"}
    lease = timedelta(seconds=RETRY)
    assert before - lease <= document["lock"] <= server.data.now() - lease


def test_lock_is_the_moment_of_taking_by_the_servers_clock(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    server.data.skip(3600)
    broker.enqueue("package")
    before = server.data.now()
    assert len(take(broker)) == 1
    [document] = raw.find()
    assert before <= document["lock"] <= server.data.now()


def test_package_of_an_earlier_release_is_taken_and_removed(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    broker.enlist(CLUSTER, RETRY)
    free = server.data.now() - timedelta(seconds=RETRY)
    raw.insert_one({"payload": "old", "lock": free})
    [delivery] = take(broker)
    assert (delivery.package, delivery.deliveries, delivery.attempts) == ("old", 1, 0)
    assert broker.acknowledge(str(delivery.receipt))
    assert raw.count_documents({}) == 0


def claim_as_before(raw: Any, server: MongoServer) -> Any:
    """What a cluster of an earlier release does."""
    now = server.data.now()
    free = {"lock": {"$lte": now - timedelta(seconds=RETRY)}}
    return raw.find_one_and_update(free, {"$set": {"lock": now}})


def test_earlier_release_takes_what_is_free_and_leaves_what_is_held(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    broker.enlist(CLUSTER, RETRY)
    broker.enqueue("theirs")
    assert claim_as_before(raw, server)["payload"] == "theirs"
    broker.enqueue("ours")
    [delivery] = take(broker, 2)
    assert delivery.package == "ours"
    assert claim_as_before(raw, server) is None
    broker.release([str(delivery.receipt)])
    assert claim_as_before(raw, server)["payload"] == "ours"


def test_what_an_earlier_release_holds_is_left_to_it_until_its_time_is_over(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    broker.enlist(CLUSTER, RETRY)
    broker.enqueue("theirs")
    claim_as_before(raw, server)
    assert take(broker) == []
    server.data.skip(RETRY + 1)
    assert len(take(broker)) == 1


def test_cluster_whose_package_an_earlier_release_took_over_is_refused(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    broker.enlist(CLUSTER, RETRY)
    broker.enqueue("slept over")
    receipts = receipts_in(take(broker))
    server.data.skip(RETRY + 1)
    assert claim_as_before(raw, server) is not None
    assert broker.renew(receipts) == set()
    assert broker.acknowledge_many(receipts) == set()
    assert broker.held() == []
    assert raw.count_documents({}) == 1


def test_id_that_enqueue_gave_removes_as_it_did(broker: Mongo, raw: Any) -> None:
    given = broker.enqueue("package")
    assert broker.acknowledge(given)
    assert not broker.acknowledge(given)


@pytest.mark.parametrize("receipt", ["nonsense", "nonsense:1", f"{ObjectId()}:x"])
def test_receipt_that_is_none_is_refused(broker: Mongo, receipt: str) -> None:
    with pytest.raises(UnknownReceipt, match="no receipt of the MongoDB broker"):
        broker.acknowledge(receipt)


# -- priority, cancelling and pausing


def test_peeking_at_none_shows_none(broker: Mongo) -> None:
    broker.enqueue("package")
    assert broker.peek(0) == []


def test_package_of_an_earlier_release_has_priority_0(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    for priority in (-1, 1):
        broker.enqueue(str(priority), priority=priority)
    free = server.data.now() - timedelta(seconds=RETRY)
    raw.insert_one({"payload": "old", "lock": free})
    assert [delivery.package for delivery in take(broker, 3)] == ["1", "old", "-1"]


def test_earlier_release_takes_packages_of_every_priority(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    for priority in (-1, 1):
        broker.enqueue(str(priority), priority=priority)
    taken = [claim_as_before(raw, server)["payload"] for _ in range(2)]
    assert sorted(taken) == ["-1", "1"]
    assert take(broker, 2) == []


def test_each_package_is_claimed_by_one_command_in_the_order_of_an_index(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    broker.enqueue_many([Consignment("package", "shop")] * 2)
    assert len(take(broker, 2)) == 2
    claims = said(server, "findAndModify")
    assert len(claims) == 2
    orders = [index["key"] for index in raw.index_information().values()]
    assert list(claims[0]["sort"].items()) in orders
    assert len(said(server, "find")) == 0


def test_cluster_stops_fetching_when_a_tenth_of_its_lease_is_over(
    broker: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.enqueue_many([Consignment(str(n), "shop") for n in range(3)])
    broker.enlist(CLUSTER, RETRY)
    assert len(take(broker, 2)) == 2
    broker.release(receipts_in(broker.held()))
    monkeypatch.setattr(Mongo, "lease_length", 1e-9)
    assert len(take(broker, 2)) == 1
    assert broker.has_news()
    assert broker.pulse() < 0.01


def test_many_are_delayed_and_have_priorities(
    broker: Mongo, server: MongoServer
) -> None:
    broker.enqueue_many(
        [
            Consignment("plain", "shop"),
            Consignment("later", "shop", "a", delay=60),
            Consignment("first", "shop", "b", priority=1),
        ]
    )
    assert [delivery.package for delivery in take(broker, 3)] == ["first", "plain"]
    server.data.skip(61)
    assert "later" in [delivery.package for delivery in take(broker, 3)]


def test_task_that_is_queued_again_keeps_its_time_and_its_priority(
    broker: Mongo, raw: Any
) -> None:
    broker.enqueue("first", task_id="once", delay=60)
    [before] = raw.find()
    broker.enqueue("second", task_id="once", priority=9)
    assert list(raw.find()) == [before]


def test_task_that_an_earlier_release_has_is_not_cancelled(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    broker.enqueue("running", task_id="theirs")
    assert claim_as_before(raw, server)["payload"] == "running"
    assert not broker.cancel("theirs")
    server.data.skip(RETRY + 1)
    assert broker.cancel("theirs")


@pytest.mark.parametrize("skipped", [0, 20, 45, 61])
def test_delayed_task_is_cancelled_however_soon_it_is_due(
    broker: Mongo, server: MongoServer, skipped: float
) -> None:
    broker.enqueue("later", task_id="ours", delay=60)
    server.data.skip(skipped)
    assert broker.cancel("ours")


def test_task_that_waits_after_a_failure_can_be_cancelled(
    broker: Mongo, raw: Any
) -> None:
    broker.enlist(CLUSTER, RETRY)
    broker.enqueue("flaky", task_id="ours")
    broker.release(receipts_in(take(broker)), delay=RETRY / 2, failed=True)
    assert broker.cancel("ours")
    assert raw.count_documents({}) == 0


def test_lease_that_ran_out_is_for_rescue_and_not_cancelled(
    broker: Mongo, server: MongoServer
) -> None:
    broker.enlist(CLUSTER, RETRY)
    broker.enqueue("slow", task_id="ours")
    receipts = receipts_in(take(broker))
    server.data.skip(RETRY + 1)
    assert not broker.cancel("ours")
    assert broker.renew(receipts) == set(receipts)


def test_pause_is_no_package_for_anybody(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    broker.enlist(CLUSTER, RETRY)
    broker.pause()
    [pause] = raw.find()
    assert take(broker) == []
    assert take(Mongo("shop")) == []
    assert claim_as_before(raw, server) is None
    assert list(raw.find()) == [pause]
    assert (broker.queue_size(), broker.lock_size()) == (0, 0)
    assert (broker.peek(), broker.held(), broker.rescue()) == ([], [], [])
    assert broker.next_due() is None


def test_earlier_release_knows_no_pause(
    broker: Mongo, raw: Any, server: MongoServer
) -> None:
    broker.pause()
    broker.enqueue("package")
    assert claim_as_before(raw, server)["payload"] == "package"


def test_paused_queue_that_is_emptied_stays_paused(broker: Mongo, raw: Any) -> None:
    broker.pause()
    broker.enqueue("package")
    broker.purge_queue()
    assert broker.is_paused()
    assert broker.queue_size() == 0
    broker.delete_queue()
    assert not broker.is_paused()
    assert raw.count_documents({}) == 0


# -- the client


def test_client_ends_with_its_broker_and_no_thread_of_it_is_left_for_a_fork(
    broker: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_session, "LONGEST_END", 20)
    # What earlier tests of this process queued with goes when the settings change.
    keep_broker()
    before = threading.enumerate()
    broker.ping()
    client = broker.connection
    assert threads_of_clients(before)
    broker.before_fork()
    assert not threads_of_clients(before)
    with pytest.raises(InvalidOperation):
        client.admin.command("ping")
    assert broker.ping()


def threads_of_clients(others: list[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("pymongo_") and thread not in others
    ]


def test_threads_of_clients_that_go_on_do_not_keep_a_fork_waiting_for_ever(
    broker: Mongo, server: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_session, "LONGEST_END", 0)
    client: MongoClient[Any] = MongoClient(**server.settings)
    with closing(client):
        assert client.admin.command("ping")["ok"]
        broker.before_fork()
        assert client.admin.command("ping")["ok"]


def test_client_that_a_subclass_gives_is_left_open(
    broker: Mongo, server: MongoServer
) -> None:
    client: MongoClient[Any] = MongoClient(**server.settings)

    class Own(Mongo):
        @staticmethod
        def get_connection(list_key: str | None = None) -> MongoClient[Any]:
            return client

    with closing(client):
        own = Own("shop")
        own.enqueue("package")
        own.close()
        assert client["django-q"]["shop"].count_documents({}) == 1


def test_process_that_was_forked_makes_a_client_of_its_own(broker: Mongo) -> None:
    broker.ping()
    former = broker.connection
    with another_process():
        assert broker.ping()
        assert broker.connection is not former
        broker.close()
    assert former.admin.command("ping")["ok"]
    former.close()


# -- what the server is told


def test_indexes_are_made_and_made_again_after_the_queue_was_deleted(
    broker: Mongo, raw: Any
) -> None:
    broker.enqueue("package")
    before = set(raw.index_information())
    order = "above_-1_below_1_lock_1__id_1"
    assert before == {"_id_", order, "lock_1", "holder_1", "task_id_1"}
    with closing(Mongo("shop")) as other:
        other.delete_queue()
    broker.enlist(CLUSTER, RETRY)
    broker.rescue()
    assert set(raw.index_information()) == before


def test_vital_signs_are_kept_in_a_collection_that_forgets_them(
    broker: Mongo, server: MongoServer
) -> None:
    signboard.post(broker, "django_q:shop:cluster:1", "$signs", 3)
    assert signboard.look(broker, "django_q:shop:cluster:1") == "$signs"
    signs = server.data.collections["django-q.django_q:signs"]
    assert signs.indexes["until_1"]["expireAfterSeconds"] == 0
    server.data.skip(4)
    assert broker.get_stats("django_q:shop:cluster:*") == []
    server.data.expire()
    assert not signs.documents


def test_package_that_came_between_two_questions_is_not_said_to_be_ours(
    broker: Mongo, raw: Any, server: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are acknowledged; before the second question one of them goes to others."""
    broker.enlist(CLUSTER, RETRY)
    broker.enqueue_many([Consignment("a", "shop"), Consignment("b", "shop")])
    lost, kept = receipts_in(take(broker, 2))
    delete = server.delete

    def delete_later(question: dict[str, Any]) -> dict[str, Any]:
        queue = server.data.collections["django-q.shop"]
        queue.documents[ObjectId(lost.partition(":")[0])]["holder"] = OTHER
        return delete(question)

    monkeypatch.setattr(server, "delete", delete_later)
    assert broker.acknowledge_many([lost, kept]) == {kept}


# -- lost answers


def test_package_whose_answer_was_lost_is_queued_once(
    broker: Mongo, server: MongoServer
) -> None:
    broker.ping()
    server.deaf_to.add("findAndModify")
    broker.enqueue("package")
    server.deaf_to.add("update")
    broker.enqueue_many([Consignment("more", "shop", "task")])
    assert not server.deaf_to
    assert broker.queue_size() == 2


def test_taking_whose_answer_was_lost_is_found_among_the_held(
    broker: Mongo, server: MongoServer
) -> None:
    broker.enlist(CLUSTER, RETRY)
    broker.enqueue("package")
    server.deaf_to.add("findAndModify")
    with pytest.raises(BrokerUnavailable):
        broker.dequeue(1)
    assert take(broker) == []
    assert [each.package for each in broker.held()] == ["package"]


def test_what_was_taken_before_the_line_broke_is_handed_out(
    broker: Mongo, server: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.enqueue_many([Consignment("a", "shop"), Consignment("b", "shop")])
    claim, asked = server.find_and_modify, iter([False, True])

    def once(question: dict[str, Any]) -> dict[str, Any]:
        if next(asked):
            raise Refusal(11600, "InterruptedAtShutdown", "shutting down")
        return claim(question)

    monkeypatch.setattr(server, "find_and_modify", once)
    assert [each.package for each in take(broker, 2)] == ["a"]


# -- a replica set


@pytest.fixture
def member(q_settings: Any) -> Iterator[MongoServer]:
    with MongoServer(replica_set="rs0") as member:
        q_settings(orm=None, mongo=member.settings, retry=RETRY, poll=0.02)
        yield member


def test_cluster_is_called_when_a_package_comes_or_is_given_back(
    member: MongoServer,
) -> None:
    with closing(Mongo("shop")) as broker, closing(Mongo("shop")) as other:
        broker.enlist(CLUSTER, RETRY)
        other.enlist(OTHER, RETRY)
        wait_until(lambda: broker.news_fd() is not None)
        wait_until(broker.has_news)
        assert broker.pulse() == 1
        assert not broker.has_news()
        other.enqueue("news")
        wait_until(broker.has_news)
        receipts = receipts_in(take(other))
        assert other.renew(receipts) == set(receipts)
        assert not broker.has_news()
        other.release(receipts)
        wait_until(broker.has_news)


def test_idle_cluster_is_called_when_a_paused_queue_goes_on(
    member: MongoServer,
) -> None:
    with closing(Mongo("shop")) as broker, closing(Mongo("shop")) as other:
        broker.enlist(CLUSTER, RETRY)
        other.enqueue("waits")
        other.pause()
        wait_until(lambda: broker.news_fd() is not None)
        wait_until(broker.has_news)
        assert take(broker) == []
        assert not broker.has_news()
        other.resume()
        wait_until(broker.has_news)
        assert [delivery.package for delivery in take(broker)] == ["waits"]


def test_stream_of_a_deleted_queue_is_opened_anew(member: MongoServer) -> None:
    with closing(Mongo("shop")) as broker:
        broker.enlist(CLUSTER, RETRY)
        wait_until(lambda: broker.news_fd() is not None)
        wait_until(broker.has_news)
        broker.delete_queue()
        wait_until(lambda: broker.news_fd() is None)
        wait_until(lambda: broker.news_fd() is not None)
        wait_until(broker.has_news)
        broker.enqueue("news")
        wait_until(broker.has_news)


def test_server_that_stands_alone_is_asked_instead(
    broker: Mongo, server: MongoServer
) -> None:
    broker.enlist(CLUSTER, RETRY)
    assert broker.has_news()
    wait_until(lambda: said(server, "aggregate"))
    wait_until(broker.has_news)
    assert broker.news_fd() is None
    assert broker.pulse() == Conf.POLL


def test_writes_of_a_replica_set_are_repeated_by_the_client(
    member: MongoServer,
) -> None:
    with closing(Mongo("shop")) as broker:
        broker.enqueue("package")
        member.deaf_to.add("findAndModify")
        assert [each.package for each in take(broker)] == ["package"]


# -- refusals


def test_server_that_is_down_is_named_with_the_setting(q_settings: Any) -> None:
    where = {"host": "127.0.0.1", "port": free_port()}
    q_settings(orm=None, mongo={**where, "serverSelectionTimeoutMS": 50})
    with closing(Mongo("shop")) as broker, pytest.raises(BrokerUnavailable) as caught:
        broker.enqueue("package")
    assert isinstance(caught.value, ConnectionFailure)
    text = str(caught.value)
    assert f"Can't reach the MongoDB broker at 127.0.0.1:{where['port']} (" in text
    assert "Q_CLUSTER['mongo']" in text
    assert 'Q_CLUSTER = {"orm": "default"}' in text


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(18, "AuthenticationFailed", "Authentication failed."),
        Refusal(13, "Unauthorized", "not authorized on django-q"),
    ],
)
def test_user_that_is_refused_is_no_outage_and_the_setting_is_named(
    broker: Mongo, server: MongoServer, refusal: Refusal
) -> None:
    server.refuses["createIndexes"] = refusal
    with pytest.raises(BrokerError, match=r"Set user and password in") as caught:
        broker.enqueue("secret")
    assert not isinstance(caught.value, BrokerUnavailable)
    assert str(refusal).rstrip(".") in str(caught.value)
    assert "secret" not in str(caught.value)


def test_wrong_password_is_told_and_not_shown(
    server: MongoServer, q_settings: Any
) -> None:
    server.refuses["saslStart"] = Refusal(18, "AuthenticationFailed", "Bad auth.")
    credentials = {"username": "shop", "password": "geheim"}
    q_settings(orm=None, mongo={**server.settings, **credentials})
    with closing(Mongo("shop")) as broker, pytest.raises(BrokerError) as caught:
        broker.enqueue("package")
    assert "Q_CLUSTER['mongo']" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_package_that_is_too_large_says_so(broker: Mongo) -> None:
    large = "x" * (16 * 1024 * 1024 + 20_000)
    with pytest.raises(PackageTooLarge, match="16 MiB"):
        broker.enqueue(large)
    with pytest.raises(PackageTooLarge, match="16 MiB"):
        broker.enqueue_many([Consignment(large, "shop")])
    assert broker.queue_size() == 0


def test_other_refusals_are_told_in_the_servers_words(
    broker: Mongo, server: MongoServer
) -> None:
    server.refuses["aggregate"] = Refusal(2, "BadValue", "never heard of it")
    with pytest.raises(BrokerError, match="refuses: never heard of it"):
        broker.queue_size()
