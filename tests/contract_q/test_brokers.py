"""Brokers that projects wrote for an earlier release: they work as they are."""

# Their verbs have other signatures than ours, which is the point.
# mypy: disable-error-code="no-untyped-call, override"

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from copy import copy
from queue import SimpleQueue
from time import sleep
from typing import Any, NamedTuple

import pytest

from django_q.brokers import Broker, Delivery, get_broker
from django_q.brokers.base import Consignment
from django_q.brokers.front import MOST_REMEMBERED, Front, in_service
from django_q.brokers.memory import Memory
from django_q.brokers.orm import ORM
from django_q.brokers.redis_broker import Redis
from django_q.cluster.ledger import Ledger
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.pusher import pusher
from django_q.tasks import async_task
from tests.servers import RedisServer
from tests.waiting import wait_until

HERE = __name__


class Ticket(NamedTuple):
    """A receipt of a client library's own kind."""

    shelf: str
    number: int


class Shop:
    """What is behind the broker, for all its instances."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.calls: list[tuple[str, Any]] = []


SHOPS: dict[str, Shop] = {}


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    SHOPS.clear()
    yield
    SHOPS.clear()


class Elder(Broker):
    """A broker in the form of the earlier releases; asks its base in every verb."""

    form = "list"

    @staticmethod
    def get_connection(list_key: str = Conf.PREFIX) -> Shop:
        return SHOPS.setdefault(list_key, Shop())

    def enqueue(self, task):
        super().enqueue(task)
        self.connection.waiting.append(task)
        return len(self.connection.waiting)

    def dequeue(self):
        super().dequeue()
        if not self.connection.waiting:
            return None
        pairs = [(Ticket("shelf", 7), self.connection.waiting.pop(0))]
        return pairs[0] if self.form == "single" else pairs

    def acknowledge(self, task_id):
        super().acknowledge(task_id)
        self.connection.calls.append(("acknowledge", task_id))

    def fail(self, task_id):
        super().fail(task_id)
        self.connection.calls.append(("fail", task_id))

    def delete(self, task_id):
        super().delete(task_id)

    def queue_size(self):
        return super().queue_size() + len(self.connection.waiting)

    def lock_size(self):
        return super().lock_size()

    def purge_queue(self):
        super().purge_queue()
        self.connection.waiting.clear()

    def delete_queue(self):
        super().delete_queue()
        self.purge_queue()

    def ping(self):
        return super().ping()

    def info(self):
        self._info = self._info or "Elder 1.0"
        return self._info

    def set_stat(self, key, value, timeout=3):
        super().set_stat(key, value, timeout)


class Eldest(Elder):
    """As in 0.6.4: one pair, not a list of pairs."""

    form = "single"


def served(broker: Broker) -> Broker:
    """The broker as the roles of a cluster use it."""
    return in_service(broker)


# -- the plain ones


@pytest.mark.parametrize("kind", [Elder, Eldest])
def test_dequeue_without_count_gives_a_list_or_one_pair_or_nothing(
    kind: type[Elder],
) -> None:
    kind("q").enqueue("package")
    broker = served(kind("q"))

    (delivery,) = broker.dequeue(5) or []

    assert delivery.package == "package"
    assert not broker.dequeue(5)


@pytest.mark.parametrize(
    "receipt", [12, Ticket("shelf", 7), b"bytes", "http://queue/1", "plain", ("a", 1)]
)
def test_receipt_comes_back_as_what_it_was(receipt: Any) -> None:
    class Own(Elder):
        def dequeue(self):
            return [(receipt, "package")]

    own = Own("q")
    broker = served(own)
    entry = Ledger(1).take((broker.dequeue(1) or [])[0])

    broker.acknowledge_many([entry.receipt])
    broker.fail(entry.receipt)

    assert own.connection.calls == [("acknowledge", receipt), ("fail", receipt)]
    assert [type(given) for _, given in own.connection.calls] == [type(receipt)] * 2


def test_package_without_receipt_has_none() -> None:
    class Forgetful(Elder):
        def dequeue(self):
            return None, b"package"

    (delivery,) = served(Forgetful("q")).dequeue(1) or []

    assert delivery == (None, "package")


def test_broker_that_gives_one_at_a_time_is_asked_on_and_on_while_it_gives() -> None:
    Elder("q").enqueue("package")
    broker = served(Elder("q"))

    broker.dequeue(5)
    assert (broker.has_news(), broker.pulse()) == (True, 0)
    broker.dequeue(5)
    assert 0 < broker.pulse() <= Conf.POLL


def test_broker_that_waits_for_the_next_one_itself_is_asked_at_once(
    q_settings: Any,
) -> None:
    class Patient(Elder):
        def dequeue(self):
            sleep(0.02)

    q_settings(poll=0.01)
    broker = served(Patient("q"))
    broker.dequeue(5)
    assert broker.pulse() == 0


def test_deliveries_are_counted_where_the_broker_can_not() -> None:
    broker = served(Elder("q"))

    for attempts in range(3):
        Elder("q").enqueue("package")
        (delivery,) = broker.dequeue(1) or []
        assert (delivery.deliveries, delivery.attempts) == (attempts + 1, attempts)


def test_count_of_deliveries_takes_bounded_memory() -> None:
    elder = Elder("q")
    broker = Front(elder)

    def count(package: str) -> int:
        elder.enqueue(package)
        return broker.dequeue(1)[0].deliveries

    assert [count("first"), count("first")] == [1, 2]
    for n in range(MOST_REMEMBERED):
        count(f"package {n}")
    assert count("first") == 1


def test_package_that_comes_again_while_it_runs_is_not_run_twice() -> None:
    ledger = Ledger(1)
    first = ledger.take(Delivery("12", "package"))
    ledger.hand(1, 1)

    assert ledger.take(Delivery("12", "package")) is first
    assert not ledger.free


def test_broker_without_a_verb_for_bad_packages_acknowledges_them() -> None:
    class Trusting(Broker):
        def acknowledge(self, receipt: str) -> None:
            SHOPS.setdefault("q", Shop()).calls.append(("acknowledge", receipt))

    served(Trusting("q")).fail("12")

    assert SHOPS["q"].calls == [("acknowledge", "12")]


def test_exception_in_dequeue_reaches_the_pusher() -> None:
    class Broken(Elder):
        def dequeue(self):
            raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        served(Broken("q")).dequeue(1)


def test_every_verb_may_ask_its_base(q_settings: Any) -> None:
    q_settings(broker_class=f"{HERE}.Elder", cluster_name="fast")
    broker = get_broker()
    broker.enqueue("package")

    assert (broker.list_key, broker.info(), broker.ping()) == (
        "fast",
        "Elder 1.0",
        True,
    )
    assert (broker.queue_size(), broker.lock_size()) == (1, 0)
    assert vars(broker)["_info"] == "Elder 1.0"
    broker.delete("x")
    broker.delete_queue()
    assert broker.queue_size() == 0


def test_children_get_the_queue_and_the_description_and_connect_anew() -> None:
    broker = Elder("q")
    broker.info()

    twin = pickle.loads(pickle.dumps(broker))

    assert (twin.list_key, vars(twin)["_info"]) == ("q", "Elder 1.0")
    assert twin.connection is SHOPS["q"]
    assert vars(Broker("q"))["_info"] is None


def test_enqueue_gets_the_package_alone(q_settings: Any) -> None:
    q_settings(broker_class=f"{HERE}.Elder")

    async_task("math.sqrt", 4)
    get_broker("other").enqueue_many([Consignment("next", "third", "a" * 32)])

    assert len(SHOPS["tests"].waiting) == 1
    assert SHOPS["third"].waiting == ["next"]


# -- those that build on the database


class Rows(ORM):
    """Bare primary keys as receipts."""

    def enqueue(self, task):
        row = self.get_connection(self.list_key).create(
            key=self.list_key, payload=task, lock=self.timeout(OrmQ())
        )
        return row.pk

    def dequeue(self):
        rows = self.get_connection(self.list_key).filter(key=self.list_key)
        return [(row.pk, row.payload) for row in rows]


class Loud(ORM):
    """Says what it took, and leaves the rest to its base."""

    def dequeue(self):
        taken = super().dequeue()
        SHOPS.setdefault("loud", Shop()).calls += [("took", len(taken))]
        return taken


class Archive(ORM):
    """Has replaced a verb for one package."""

    def acknowledge(self, task_id):
        SHOPS.setdefault("archive", Shop()).calls.append(("acknowledge", task_id))
        return super().acknowledge(task_id)

    def enqueue(self, package, **options):
        return super().enqueue(package.upper(), **options)


@pytest.mark.django_db
class TestOnTheDatabase:
    def test_own_dequeue_switches_leases_off(self) -> None:
        broker = served(Rows("q"))
        key = Rows("q").enqueue("package")
        broker.enlist("c" * 32, 30)

        (delivery,) = broker.dequeue(5) or []
        receipt = str(delivery.receipt)

        assert delivery.package == "package"
        assert not Rows.supports_leases
        assert not broker.supports_leases
        assert broker.renew([receipt]) == {receipt}
        assert broker.release([receipt], failed=True) == {receipt}
        assert (broker.held(), broker.rescue()) == ([], [])
        assert broker.acknowledge_many([receipt]) == {receipt}
        assert not OrmQ.objects.filter(pk=key).exists()

    @pytest.mark.parametrize("verb", ["fail", "delete", "acknowledge"])
    def test_bare_key_removes_the_row(self, verb: str) -> None:
        key = Rows("q").enqueue("package")

        assert getattr(Rows("q"), verb)(key)
        assert not OrmQ.objects.exists()

    def test_own_dequeue_may_ask_its_base(self) -> None:
        Loud("q").enqueue("package")
        broker = served(Loud("q"))
        broker.enlist("c" * 32, 30)

        (delivery,) = broker.dequeue(5) or []

        assert SHOPS["loud"].calls == [("took", 1)]
        assert OrmQ.objects.get().holder is None
        assert broker.acknowledge_many([str(delivery.receipt)])
        assert not OrmQ.objects.exists()

    def test_async_task_gives_own_enqueue_the_package_alone(
        self, q_settings: Any
    ) -> None:
        q_settings(broker_class=f"{HERE}.Rows")

        async_task("math.sqrt", 4)

        assert OrmQ.objects.get().func() == "math.sqrt"

    def test_replaced_orm_enqueue_gets_the_package_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[str] = []
        monkeypatch.setattr(ORM, "enqueue", lambda _self, task: sent.append(task))

        async_task("math.sqrt", 4)

        assert len(sent) == 1

    def test_verb_for_many_uses_the_replaced_one_for_each(self) -> None:
        broker = served(Archive("q"))
        assert isinstance(broker, Archive)
        broker.enlist("c" * 32, 30)
        broker.enqueue_many([Consignment("a", "q", "1"), Consignment("b", "q", "2")])

        taken = broker.dequeue(5)
        receipts = [str(delivery.receipt) for delivery in taken]
        gone = broker.acknowledge_many([*receipts, "4711:1"])

        assert [delivery.package for delivery in taken] == ["A", "B"]
        assert gone == set(receipts)
        assert len(SHOPS["archive"].calls) == 3

    def test_connection_may_be_anything(self) -> None:
        class Repository(Rows):
            @staticmethod
            def get_connection(list_key: str = Conf.PREFIX) -> Any:
                return OrmQ.objects

        class Wrapped(ORM):
            @staticmethod
            def get_connection(list_key: str = Conf.PREFIX) -> Any:
                return object()

        Repository("q").enqueue("package")
        Wrapped("w").enqueue("package")

        assert OrmQ.objects.count() == 2
        assert copy(Wrapped("w")).database == "default"


def test_memory_may_be_built_upon_likewise() -> None:
    class Counting(Memory):
        count = 0

        def acknowledge(self, receipt: str) -> bool:
            type(self).count += 1
            return super().acknowledge(receipt)

    broker = Counting("q")
    broker.enqueue("package")
    (delivery,) = broker.dequeue(1)

    assert broker.acknowledge_many([str(delivery.receipt)]) == {delivery.receipt}
    assert Counting.count == 1
    wait_until(lambda: broker.queue_size() + broker.lock_size() == 0)


# -- those that build on Redis


class Bare(Redis):
    """Uses the list alone, as all did: what is taken is gone."""

    def enqueue(self, task: str) -> Any:
        return self.connection.rpush(self.list_key, task)

    def dequeue(self) -> Any:
        taken: Any = self.connection.blpop(self.list_key, 1)
        return (None, taken[1]) if taken else None


class Diary(Redis):
    """Has replaced a verb for one package."""

    def acknowledge(self, task_id: str) -> bool:
        SHOPS.setdefault("diary", Shop()).calls.append(("acknowledge", task_id))
        return super().acknowledge(task_id)


@pytest.fixture
def on_redis(redis_server: RedisServer, q_settings: Any) -> Iterator[None]:
    q_settings(redis=redis_server.url, orm=None)
    yield
    Redis("q").connection.flushdb()


@pytest.mark.usefixtures("on_redis")
class TestOnRedis:
    def test_own_list_has_no_receipts(self) -> None:
        broker = served(Bare("q"))
        broker.enlist("c" * 32, 30)
        broker.enqueue_many([Consignment("links", "q", "a" * 32)])
        Bare("q").enqueue("package")

        taken = [(broker.dequeue(5) or [])[0] for _ in range(2)]

        assert taken == [(None, "links"), (None, "package")]
        assert (broker.held(), broker.rescue()) == ([], [])
        assert Bare("q").queue_size() + Bare("q").lock_size() == 0

    def test_verb_for_many_uses_the_replaced_one_for_each(self) -> None:
        broker = served(Diary("q"))
        broker.enlist("c" * 32, 30)
        broker.enqueue_many([Consignment("a", "q", "1"), Consignment("b", "q", "2")])
        receipts = [str(delivery.receipt) for delivery in broker.dequeue(5) or []]

        assert broker.acknowledge_many(receipts) == set(receipts)
        assert len(SHOPS["diary"].calls) == 2
        assert broker.queue_size() + broker.lock_size() == 0


# -- the pusher as a function


def test_pusher_as_a_function_takes_what_they_give(q_settings: Any) -> None:
    q_settings(broker_class=f"{HERE}.Eldest")
    async_task("math.sqrt", 4)
    tasks: SimpleQueue[dict[str, Any]] = SimpleQueue()
    event = threading.Event()
    event.set()

    pusher(tasks, event, get_broker())

    task = tasks.get_nowait()
    assert (task["func"], task["ack_id"]) == ("math.sqrt", Ticket("shelf", 7))
