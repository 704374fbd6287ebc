"""The ORM broker beside what else happens in and to a database."""

from __future__ import annotations

import select
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from django_q.brokers import Consignment, get_broker
from django_q.brokers.news import CALLED_PULSE
from django_q.brokers.orm import ORM
from django_q.brokers.tables import open_table
from django_q.exceptions import BrokerError, BrokerUnavailable, UnknownReceipt
from django_q.models import OrmQ
from tests.aliases import added_database, added_sqlite
from tests.waiting import wait_until

KIND = django_settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]

GONE: dict[str, Any] = {"NAME": "/no folder/db", "HOST": "127.0.0.1", "PORT": "1"}
"""A database where there is none."""

pytestmark = pytest.mark.django_db(transaction=True)

on_sqlite = pytest.mark.skipif(KIND != "sqlite3", reason="only SQLite")
on_postgres = pytest.mark.skipif(KIND != "postgresql", reason="only PostgreSQL")
on_servers = pytest.mark.skipif(KIND == "sqlite3", reason="SQLite has no server")


@pytest.fixture
def broker(q_settings: Any) -> Iterator[ORM]:
    q_settings(poll=0.02, retry=30)
    broker = ORM("things")
    yield broker
    broker.close()


@pytest.fixture
def use_database(q_settings: Any) -> Callable[[str], ORM]:
    def use(alias: str) -> ORM:
        q_settings(poll=0.02, retry=30, orm=alias)
        return ORM("things")

    return use


def new_id() -> str:
    return uuid.uuid4().hex


def row() -> OrmQ:
    return OrmQ.objects.get()


def locked_until() -> datetime:
    lock = row().lock
    assert lock is not None
    return lock


# -- choosing it


def test_setting_orm_chooses_it(q_settings: Any):
    broker = get_broker("things")
    assert isinstance(broker, ORM)
    assert (broker.list_key, broker.database) == ("things", "default")
    assert broker.info() == "ORM default"


def test_own_broker_may_build_on_it(q_settings: Any):
    q_settings(orm=None, broker_class=f"{__name__}.Patient", poll=0.02)
    broker = get_broker("things")
    broker.enqueue("long")
    broker.dequeue()
    assert locked_until() - timezone.now() > timedelta(hours=1)


class Patient(ORM):
    """Holds what it takes for two hours, in the way that earlier releases offered."""

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        return ORM.get_connection(list_key)

    def timeout(self, row: OrmQ) -> datetime:
        assert row.payload == "long"
        return timezone.now() + timedelta(hours=2)


# -- rows, as others see them


def test_enqueue_gives_the_id_of_the_row(broker: ORM):
    assert broker.enqueue("a") == row().pk
    assert (row().key, row().payload) == ("things", "a")


def test_lock_is_the_time_as_django_stores_it(broker: ORM):
    broker.enqueue("a")
    assert abs(timezone.now() - locked_until()) < timedelta(seconds=5)
    broker.dequeue()
    assert (
        timedelta(seconds=25) < locked_until() - timezone.now() < timedelta(seconds=35)
    )


def test_times_without_zone_are_local_ones(broker: ORM, settings: Any):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Kathmandu"
    broker.enqueue("later", delay=60)
    assert 50 < (locked_until() - timezone.now()).total_seconds() <= 60
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))
    assert len(broker.dequeue()) == 1
    assert 25 < (locked_until() - timezone.now()).total_seconds() < 35


IN_NEW_YORK = {"TIME_ZONE": "America/New_York"}


@on_sqlite
@pytest.mark.parametrize(
    ("use_tz", "own"), [(True, {}), (True, IN_NEW_YORK), (False, {})]
)
def test_moments_are_written_as_django_writes_them(
    use_tz: bool, own: dict[str, str], settings: Any
):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, "America/New_York"
    here = connection.copy()
    here.settings_dict |= own
    # Half an hour later there is no such time of the day.
    with time_machine.travel(datetime(2026, 3, 8, 6, 50, tzinfo=UTC), tick=False):
        then = timezone.now() + timedelta(minutes=30)
        [text] = open_table(here, "things").moment(delay=1800).values
    assert text == here.ops.adapt_datetimefield_value(then)


def test_row_of_an_earlier_release_is_delivered(broker: ORM):
    moment = timezone.now() - timedelta(seconds=1)
    OrmQ.objects.create(key="things", payload="older", lock=moment)
    assert [package for _, package in broker.dequeue()] == ["older"]


def test_row_that_an_earlier_release_has_claimed_is_left_alone(broker: ORM):
    broker.enqueue("theirs")
    before = locked_until()
    theirs = OrmQ.objects.filter(pk=row().pk, lock=before)
    assert theirs.update(lock=timezone.now() + timedelta(seconds=60)) == 1
    assert broker.dequeue() == []
    assert (broker.queue_size(), broker.lock_size()) == (0, 1)


def test_row_without_lock_is_never_delivered(broker: ORM):
    OrmQ.objects.create(key="things", payload="stopped", lock=None)
    assert broker.dequeue() == []
    assert (broker.queue_size(), broker.lock_size()) == (0, 0)


def test_holder_is_the_cluster(broker: ORM):
    cluster = new_id()
    broker.enlist(cluster, 30)
    task_id = new_id()
    broker.enqueue("a", task_id=task_id)
    broker.dequeue()
    assert (row().holder, row().deliveries, row().task_key) == (cluster, 1, task_id)


@pytest.mark.parametrize("verb", ["acknowledge", "fail", "delete"])
@pytest.mark.parametrize("kind", [int, str])
def test_id_that_enqueue_gave_removes_too(
    broker: ORM, verb: str, kind: Callable[[Any], Any]
):
    getattr(broker, verb)(kind(broker.enqueue("a")))
    assert not OrmQ.objects.exists()


def test_receipt_of_another_broker_is_refused_with_a_clear_message(broker: ORM):
    with pytest.raises(UnknownReceipt, match="no receipt of the ORM broker"):
        broker.renew(["message:handle"])


# -- transactions


def test_enqueued_in_a_transaction_that_is_undone_is_not_enqueued(broker: ORM):
    with transaction.atomic():
        broker.enqueue("a")
        broker.enqueue_many([Consignment("b", "things")])
        transaction.set_rollback(True)
    assert broker.queue_size() == 0


def test_enqueued_in_a_transaction_is_taken_after_its_commit(broker: ORM):
    with transaction.atomic():
        broker.enqueue("a")
    assert len(broker.dequeue()) == 1


def test_acknowledged_in_a_transaction_that_is_undone_stays(broker: ORM):
    broker.enlist(new_id(), 30)
    broker.enqueue("a")
    [delivery] = broker.dequeue()
    with transaction.atomic():
        assert broker.acknowledge_many([str(delivery.receipt)]) == {delivery.receipt}
        transaction.set_rollback(True)
    assert len(broker.held()) == 1


@on_servers
def test_renewal_waits_for_nobody(broker: ORM):
    """While the monitor removes rows in a long transaction, leases are renewed."""
    broker.enlist(new_id(), 30)
    broker.enqueue_many([Consignment(str(n), "things") for n in range(2)])
    receipts = [str(delivery.receipt) for delivery in broker.dequeue(2)]
    with added_database(**connections.settings["default"]) as alias:
        with transaction.atomic(using=alias):
            rows = OrmQ.objects.using(alias).filter(pk=receipts[0].partition(":")[0])
            assert rows.delete()[0] == 1
            began = time.monotonic()
            assert broker.renew(receipts) == set(receipts)
            assert time.monotonic() - began < 5
        assert broker.renew(receipts) == {receipts[1]}


@on_sqlite
def test_empty_queue_takes_no_write_lock(broker: ORM):
    broker.enlist(new_id(), 30)
    name = connection.settings_dict["NAME"]
    with added_sqlite(name) as alias, transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("DELETE FROM django_q_ormq")
        began = time.monotonic()
        assert broker.dequeue() == []
        assert time.monotonic() - began < 1


# -- migrations


def test_producers_need_not_wait_for_the_migration_that_adds_priorities(
    tmp_path: Path, use_database: Callable[[str], ORM]
):
    with added_sqlite(tmp_path / "half.sqlite3") as alias:
        call_command("migrate", "django_q", "0021", database=alias, verbosity=0)
        broker = use_database(alias)
        broker.enqueue("a", task_id=new_id())
        broker.enqueue_many([Consignment("b", "things"), Consignment("c", "things")])
        with pytest.raises(BrokerError, match=r"python manage\.py migrate"):
            broker.enqueue("d", priority=1)
        with pytest.raises(BrokerError, match=r"python manage\.py migrate"):
            broker.dequeue()
        call_command("migrate", database=alias, verbosity=0)
        assert [package for _, package in broker.dequeue(3)] == ["a", "b", "c"]


# -- trouble


def test_missing_tables_are_told_with_what_to_do(
    tmp_path: Path, use_database: Callable[[str], ORM]
):
    with added_sqlite(tmp_path / "empty.sqlite3") as alias:
        broker = use_database(alias)
        with pytest.raises(BrokerError, match=r"python manage\.py migrate"):
            broker.enqueue("a")
        call_command("migrate", database=alias, verbosity=0)
        broker.enqueue("a")
        assert broker.queue_size() == 1


def test_database_that_is_away_is_told(use_database: Callable[[str], ORM]):
    with added_database(**GONE) as alias:
        broker = use_database(alias)
        for verb in (broker.ping, broker.dequeue, lambda: broker.enqueue("a")):
            with pytest.raises(BrokerUnavailable, match="can't be used"):
                verb()


@on_sqlite
def test_locked_database_is_told(use_database: Callable[[str], ORM]):
    name = connection.settings_dict["NAME"]
    with added_sqlite(name, timeout=0.1) as alias, transaction.atomic():
        OrmQ.objects.create(key="things", payload="a", lock=timezone.now())
        with pytest.raises(BrokerUnavailable, match="locked"):
            use_database(alias).enqueue("b")


def end_connection(alias: str = "default") -> None:
    """End the server's side of a connection, as an administrator may."""
    with connections[alias].cursor() as cursor:
        if KIND == "postgresql":
            cursor.execute("SELECT pg_backend_pid()")
        else:
            cursor.execute("SELECT CONNECTION_ID()")
        [number] = cursor.fetchone()
    usual = connections.settings["default"]
    with added_database(**usual) as other, connections[other].cursor() as cursor:
        if KIND == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [number])
        else:
            cursor.execute(f"KILL {number}")


@on_servers
def test_lost_connection_is_told_and_heals(broker: ORM):
    broker.enqueue("a")
    end_connection()
    with pytest.raises(BrokerUnavailable, match="can't be used"):
        broker.dequeue()
    assert len(broker.dequeue()) == 1


@on_servers
def test_named_package_is_enqueued_in_spite_of_a_lost_connection(broker: ORM):
    broker.enqueue("a")
    end_connection()
    broker.enqueue("b", task_id=new_id())
    end_connection()
    broker.enqueue_many([Consignment("c", "things", new_id())])
    assert broker.queue_size() == 3


@on_servers
def test_nameless_package_is_not_enqueued_twice_for_a_lost_connection(broker: ORM):
    broker.enqueue("a")
    end_connection()
    with pytest.raises(BrokerUnavailable):
        broker.enqueue("b")


def test_after_an_outage_nothing_is_rescued_for_a_whole_lease(
    broker: ORM, q_settings: Any
):
    broker.enlist(new_id(), 30)
    broker.enqueue("lost")
    broker.dequeue()
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))
    rescuer = ORM("things")
    rescuer.enlist(new_id(), 0.5)
    began = time.monotonic()
    wait_until(lambda: rescuer.queue_size() and time.monotonic() - began > 0.4)
    with added_database(**GONE) as alias:
        q_settings(orm=alias)
        with pytest.raises(BrokerUnavailable):
            rescuer.rescue()
        q_settings(orm="default", poll=0.02)
    back = time.monotonic()
    wait_until(rescuer.rescue)
    assert time.monotonic() - back > 0.4


def test_connection_lives_on_between_two_verbs(broker: ORM):
    broker.queue_size()
    before = connection.connection
    broker.queue_size()
    assert connection.connection is before


def test_connection_that_is_too_old_is_replaced(broker: ORM, monkeypatch: Any):
    broker.queue_size()
    wrapper = connections["default"]
    before = wrapper.connection
    monkeypatch.setitem(wrapper.settings_dict, "CONN_MAX_AGE", 1)
    monkeypatch.setattr(wrapper, "close_at", time.monotonic() - 1)
    broker.queue_size()
    assert wrapper.connection is not before


# -- waking up


def test_nothing_new_is_no_news(broker: ORM):
    if KIND == "mysql":
        pytest.skip("MariaDB can't say so")
    broker.enqueue("a")
    broker.dequeue()
    wait_until(lambda: not broker.has_news())
    assert not broker.has_news()


def test_without_a_call_the_queue_is_looked_at_every_poll(broker: ORM):
    if KIND != "mysql":
        pytest.skip("only where nothing better is known")
    assert broker.news_fd() is None
    assert broker.pulse() == 0.02
    assert broker.has_news()
    assert not broker.has_news()
    wait_until(broker.has_news)


@on_postgres
def test_package_calls_the_cluster(broker: ORM):
    descriptor = broker.news_fd()
    assert descriptor is not None
    assert broker.pulse() == CALLED_PULSE
    wait_until(lambda: not broker.has_news())
    assert not select.select([descriptor], [], [], 0)[0]
    broker.enqueue("a")
    assert select.select([descriptor], [], [], 5)[0]
    assert broker.has_news()
    assert not broker.has_news()


@on_postgres
def test_an_empty_queue_is_asked_one_question(broker: ORM):
    ORM("elsewhere").enqueue("a")
    assert not broker.may_miss()
    broker.enqueue("b", delay=60)
    assert broker.may_miss()


@on_postgres
def test_package_on_another_queue_does_not_call(broker: ORM):
    wait_until(lambda: not broker.has_news())
    ORM("elsewhere").enqueue("a")
    broker.enqueue("b")
    wait_until(broker.has_news)
    assert not broker.has_news()


@on_postgres
def test_listener_that_was_cut_off_listens_again(broker: ORM):
    assert broker.news_fd() is not None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN %%' AND pid <> pg_backend_pid()"
        )
    wait_until(lambda: broker.news_fd() is None or not broker.has_news())
    wait_until(lambda: broker.has_news() and broker.news_fd() is None)
    assert broker.pulse() == 0.02
    wait_until(lambda: broker.news_fd() is not None)
    wait_until(lambda: not broker.has_news())
    broker.enqueue("a")
    wait_until(broker.has_news)


@on_postgres
def test_inside_a_transaction_nobody_listens(broker: ORM):
    with transaction.atomic():
        assert broker.news_fd() is None
        assert broker.has_news()


# -- vital signs


def test_new_cluster_sweeps_out_dead_ones(broker: ORM):
    broker.set_stat("django_q:tests:cluster:old", "gone", 0.01)
    wait_until(lambda: broker.get_stat("django_q:tests:cluster:old") is None)
    broker.set_stat("django_q:tests:cluster:new", "alive", 60)
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM django_q_vitalsign")
        assert cursor.fetchone() == (1,)


def test_sign_of_a_pattern_is_taken_literally(broker: ORM):
    broker.set_stat("django_q:a_b%c:cluster:1", "ours", 60)
    broker.set_stat("django_q:aXbYc:cluster:1", "theirs", 60)
    assert broker.get_stats("django_q:a_b%c:cluster:*") == ["ours"]
