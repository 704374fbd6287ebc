"""Clusters of one site on different brokers: who sends where, and by whose settings."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from typing import Any

import pytest
from django.db import transaction

from django_q.brokers import Broker, Consignment, get_broker
from django_q.brokers.elsewhere import Elsewhere, options_of
from django_q.brokers.memory import Memory
from django_q.brokers.orm import ORM
from django_q.brokers.registry import is_elsewhere, places
from django_q.conf import Conf, get_options, options_for, seen_as
from django_q.models import OrmQ
from django_q.tasks import AsyncTask, Chain, aasync_task, async_task, queue_size

MEMORY = "django_q.brokers.memory.Memory"
HERE = __name__


class Curious(Memory):
    """Writes down by which settings it works."""

    seen: list[tuple[str, float]] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._note("made")

    def enqueue(self, package: str, **options: Any) -> int:
        self._note("enqueue")
        return super().enqueue(package, **options)

    @property
    def lease_length(self) -> float:
        self._note("lease_length")
        return super().lease_length

    def _note(self, verb: str) -> None:
        self.seen.append((verb, get_options().retry))


class Plain(Broker):
    """As an application wrote it for an earlier release."""

    sent: list[str] = []  # noqa: RUF012 - emptied by the fixture

    def enqueue(self, package: str) -> str:  # type: ignore[override]
        self.sent.append(f"{self.list_key} by {Conf.RETRY}")
        return "1"

    def dequeue(self) -> None:  # type: ignore[override]
        return None


@pytest.fixture(autouse=True)
def site(q_settings: Any) -> Iterator[None]:
    """A shop whose reports are in memory, while all else is in the database."""
    q_settings(
        name="shop",
        retry=60,
        ALT_CLUSTERS={
            "reports": {"orm": None, "broker_class": MEMORY},
            "curious": {"broker_class": f"{HERE}.Curious", "retry": 7},
            "plain": {"broker_class": f"{HERE}.Plain", "retry": 8},
            "long": {"timeout": 900},
        },
    )
    Curious.seen.clear()
    Plain.sent.clear()
    yield
    for queue in ("reports", "curious"):
        Memory(queue).purge_queue()


@pytest.fixture
def as_reports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is the cluster of the reports."""
    monkeypatch.setenv("Q_CLUSTER_NAME", "reports")
    Conf.reload()
    yield
    monkeypatch.delenv("Q_CLUSTER_NAME")
    Conf.reload()


# -- whose settings


def test_each_cluster_reads_the_settings_in_its_own_way() -> None:
    assert options_for("reports").broker_class == MEMORY
    assert options_for("reports").name == "shop"
    assert options_for("curious").retry == 7
    assert options_for("long").timeout == 900
    assert options_for("shop") is get_options()


def test_a_queue_that_the_settings_do_not_name_has_those_of_the_base(
    as_reports: None,
) -> None:
    assert get_options().broker_class == MEMORY
    assert options_for("elsewhere").orm == options_for("shop").orm == "default"
    assert options_for("elsewhere") is options_for("shop")


def test_what_is_assigned_counts_for_all_of_them() -> None:
    before = options_for("curious")
    Conf.RETRY = 30
    try:
        assert options_for("curious").retry == options_for("shop").retry == 30
    finally:
        del Conf.RETRY
    assert options_for("curious") == before


def test_a_change_of_the_settings_is_seen(q_settings: Any) -> None:
    assert is_elsewhere("reports")
    q_settings(ALT_CLUSTERS={})
    assert not is_elsewhere("reports")
    assert isinstance(get_broker("reports"), ORM)


def test_settings_are_shown_to_one_thread_and_one_coroutine() -> None:
    found: list[float] = []

    async def look() -> float:
        return get_options().retry

    async def look_aside() -> tuple[float, float]:
        aside = asyncio.create_task(look())
        with seen_as(options_for("curious")):
            return await look(), await aside

    with seen_as(options_for("curious")):
        assert get_options().retry == Conf.RETRY == 7
        assert Conf.own.retry == 60
        thread = threading.Thread(target=lambda: found.append(get_options().retry))
        thread.start()
        thread.join()
    assert found == [60]
    assert asyncio.run(look_aside()) == (7, 60)
    assert get_options().retry == 60


def test_an_error_leaves_no_foreign_settings_behind() -> None:
    with pytest.raises(KeyError), seen_as(options_for("curious")):
        raise KeyError
    assert get_options().retry == 60


def test_a_child_knows_of_the_others_what_its_parent_knows(q_settings: Any) -> None:
    own, others, before = get_options(), Conf.others, places()
    assert others[None] == options_for("any other")
    # Its settings module may say something else by now.
    q_settings(ALT_CLUSTERS={}, name="changed")
    try:
        Conf.adopt(own, {}, pickle.loads(pickle.dumps(others)))
        assert Conf.others == others
        assert places() == before
        assert isinstance(get_broker("reports"), Memory)
        assert options_for("any other").name == "shop"
        Conf.RETRY = 30
        assert options_for("curious").retry == 30
    finally:
        del Conf.RETRY
        vars(Conf).update(_adopted=None, _adopted_others=None)
        Conf.reload()


# -- the broker of a queue


@pytest.mark.django_db
def test_each_queue_has_the_broker_of_its_cluster() -> None:
    assert type(get_broker()) is ORM
    assert type(get_broker("long")) is ORM
    assert type(get_broker("any other")) is ORM
    reports = get_broker("reports")
    assert isinstance(reports, Memory)
    assert type(reports).__name__ == "Memory"
    assert reports.list_key == "reports"
    assert options_of(reports) == options_for("reports")


@pytest.mark.django_db
def test_the_cluster_itself_has_plain_brokers(as_reports: None) -> None:
    assert type(get_broker()) is type(get_broker("reports")) is Memory
    assert isinstance(get_broker("shop"), ORM)
    assert isinstance(get_broker("any other"), ORM)


def test_it_works_by_those_settings_and_nobody_else_sees_them() -> None:
    broker = get_broker("curious")
    broker.enqueue("a:package")
    assert broker.lease_length == 7
    assert Curious.seen == [("made", 7), ("enqueue", 7), ("lease_length", 7)]
    assert get_options().retry == 60


def test_what_it_opens_for_other_queues_does_so_too() -> None:
    get_broker("plain").enqueue_many([Consignment("a:package", "near")])
    assert Plain.sent == ["near by 8"]


@pytest.mark.parametrize(
    "again", [copy, lambda broker: pickle.loads(pickle.dumps(broker))]
)
def test_a_copy_works_by_the_same_settings(again: Any) -> None:
    other = again(get_broker("curious"))
    assert isinstance(other, Curious)
    assert isinstance(other, Elsewhere)
    assert (other.list_key, other.lease_length) == ("curious", 7)


def test_a_broker_of_an_application_gets_what_it_knows() -> None:
    async_task("a.b", cluster="plain")
    assert Plain.sent == ["plain by 8"]


def test_the_same_broker_with_other_times_is_told_them(q_settings: Any) -> None:
    """Where producers say with each package how long it may be away."""
    times = {"long": {"retry": 900, "timeout": 800}, "short": {"timeout": 5}}
    q_settings(ALT_CLUSTERS=times)
    assert not is_elsewhere("long")
    q_settings(orm=None, disque_nodes=["127.0.0.1:7711"])
    assert is_elsewhere("long")
    assert not is_elsewhere("short")
    q_settings(orm=None, disque_nodes=None, broker_class=MEMORY)
    assert is_elsewhere("long")
    assert get_broker("long").lease_length == 30


# -- producers


def everywhere() -> tuple[int, int]:
    """Tasks in the database, and in memory."""
    return OrmQ.objects.count(), get_broker("reports").queue_size()


@pytest.mark.django_db(transaction=True)
def test_all_ways_to_queue_lead_there() -> None:
    async_task("a.b", cluster="reports")
    async_task("a.b", q_options={"cluster": "reports"})
    AsyncTask("a.b", cluster="reports").run()
    Chain([("a.b", (), {"q_options": {"cluster": "reports"}})]).run()
    assert everywhere() == (0, 4)
    async_task("a.b")
    async_task("a.b", cluster="long")
    assert everywhere() == (2, 4)
    assert queue_size() == 1
    assert queue_size(get_broker("reports")) == 4


@pytest.mark.django_db(transaction=True)
def test_coroutines_reach_it_too() -> None:
    async def several() -> None:
        await asyncio.gather(*(aasync_task("a.b", cluster="reports") for _ in range(5)))

    asyncio.run(several())
    assert everywhere() == (0, 5)


@pytest.mark.django_db(transaction=True)
def test_the_other_cluster_reaches_the_base(as_reports: None) -> None:
    async_task("a.b", cluster="shop")
    async_task("a.b", cluster="any other")
    async_task("a.b")
    assert set(OrmQ.objects.values_list("key", flat=True)) == {"shop", "any other"}
    assert queue_size() == 1


@pytest.mark.django_db(transaction=True)
def test_one_atomic_block_with_both() -> None:
    with transaction.atomic():
        async_task("a.b")
        async_task("a.b", cluster="reports")
        assert everywhere() == (1, 0)
    assert everywhere() == (1, 1)

    with suppress(KeyError), transaction.atomic():
        async_task("a.b")
        async_task("a.b", cluster="reports")
        raise KeyError
    assert everywhere() == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_the_database_joins_the_transaction_also_for_the_other_cluster(
    as_reports: None,
) -> None:
    with suppress(KeyError), transaction.atomic():
        async_task("a.b", cluster="shop")
        assert OrmQ.objects.count() == 1
        raise KeyError
    assert not OrmQ.objects.exists()


def test_a_broker_is_kept_until_the_settings_change(q_settings: Any) -> None:
    for _ in range(3):
        async_task("a.b", cluster="curious")
    assert [verb for verb, _ in Curious.seen].count("made") == 1
    q_settings(ALT_CLUSTERS={"curious": {"broker_class": MEMORY}})
    async_task("a.b", cluster="curious")
    assert [verb for verb, _ in Curious.seen].count("enqueue") == 3


# -- who looks


def test_each_broker_is_looked_at_once() -> None:
    assert places() == {
        "shop": ["shop", "long"],
        "reports": ["reports"],
        "curious": ["curious"],
        "plain": ["plain"],
    }


def test_the_own_one_comes_first(as_reports: None) -> None:
    assert list(places()) == ["reports", "shop", "curious", "plain"]
