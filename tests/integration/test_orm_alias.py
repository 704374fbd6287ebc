"""The ORM broker on a database of its own, behind a router, and in transactions there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Model

from django_q.brokers import Consignment, get_broker
from django_q.brokers.orm import ORM
from django_q.checks import Site, find_problems
from django_q.models import OrmQ, PausedQueue, Task, VitalSign
from django_q.status import Stat
from django_q.tasks import async_task, queue_size
from tests.aliases import added_database
from tests.databases import fresh_alias

pytestmark = pytest.mark.django_db(transaction=True)

KIND = django_settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
OF_THE_QUEUE: tuple[Any, ...] = (OrmQ, VitalSign, PausedQueue)


class QueueElsewhere:
    """A router of a project that has the queue, and nothing else, in another database."""

    def db_for_read(self, model: type[Model], **_hints: Any) -> str | None:
        return "queue" if model in OF_THE_QUEUE else None

    db_for_write = db_for_read

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **_hints: Any
    ) -> bool | None:
        if app_label != "django_q" or model_name is None:
            return None if db == DEFAULT_DB_ALIAS else app_label == "django_q"
        ours = {model._meta.model_name for model in OF_THE_QUEUE}  # noqa: SLF001
        return (db == "queue") is (model_name in ours)


@pytest.fixture
def queue_database(
    django_db_blocker: Any, settings: Any, tmp_path: Path
) -> Iterator[str]:
    with django_db_blocker.unblock(), fresh_alias(tmp_path, "queue"):
        settings.DATABASE_ROUTERS = [QueueElsewhere()]
        call_command("migrate", "django_q", database="queue", verbosity=0)
        yield "queue"


def packages_on(alias: str) -> list[str]:
    rows = OrmQ.objects.using(alias).order_by("pk")
    return list(rows.values_list("payload", flat=True))


@pytest.mark.parametrize("named_by", ["the setting", "the router"])
def test_everything_about_the_queue_is_in_the_database_of(
    queue_database: str, q_settings: Any, named_by: str
):
    path = f"{ORM.__module__}.{ORM.__qualname__}"
    by_setting = {"orm": queue_database, "broker_class": None}
    by_router = {"orm": None, "broker_class": path}
    q_settings(**(by_setting if named_by == "the setting" else by_router), poll=0.02)
    tables = connections[queue_database].introspection.table_names()
    assert {model._meta.db_table for model in OF_THE_QUEUE} <= set(tables)  # noqa: SLF001
    assert Task._meta.db_table not in tables  # noqa: SLF001

    broker = get_broker("things")
    assert broker.database == queue_database
    every_verb_works(broker)
    assert queue_size(broker) == 1
    for model in OF_THE_QUEUE:
        assert model.objects.using(queue_database).count() == 1
        assert not model.objects.using(DEFAULT_DB_ALIAS).exists()
    broker.close()


def every_verb_works(broker: Any) -> None:
    """Leaves one package, one vital sign, and a pause behind."""
    broker.enlist(uuid.uuid4().hex, 30)
    broker.enqueue("a", task_id=uuid.uuid4().hex)
    broker.enqueue("unwanted", task_id="u" * 32, delay=60)
    assert 50 < (broker.next_due() or 0) < 61
    assert broker.cancel("u" * 32)
    [first] = broker.dequeue(2)
    assert broker.renew([first.receipt]) == {first.receipt}
    again = broker.redeliver(first.receipt)
    assert broker.held() == [again]
    broker.mark_started([again.receipt])
    assert broker.release([again.receipt]) == {again.receipt}
    assert broker.rescue() == []
    assert broker.peek() == ["a"]
    broker.enqueue_many([Consignment("b", "things", None, 0, 5)])
    [second] = broker.dequeue(1)
    assert broker.acknowledge_many([second.receipt]) == {second.receipt}
    broker.pause()
    assert broker.is_paused()
    assert broker.dequeue(1) == []
    broker.set_stat("django_q:things:cluster:1", "alive", 60)
    assert broker.get_stats("django_q:things:cluster:*") == ["alive"]
    assert Stat.get_all(broker) == []
    assert (broker.queue_size(), broker.lock_size()) == (1, 0)


def test_task_joins_the_transaction_of_its_own_database(
    queue_database: str, q_settings: Any
):
    q_settings(orm=queue_database, poll=0.02)
    with transaction.atomic(using=queue_database):
        async_task("math.sqrt", 4)
        with transaction.atomic(using=queue_database):
            async_task("math.sqrt", 9)
            transaction.set_rollback(True, using=queue_database)
    assert len(packages_on(queue_database)) == 1
    with transaction.atomic(using=queue_database):
        async_task("math.sqrt", 16)
        transaction.set_rollback(True, using=queue_database)
    assert len(packages_on(queue_database)) == 1


def test_task_does_not_join_the_transaction_of_another_database(
    queue_database: str, q_settings: Any
):
    q_settings(orm=queue_database, poll=0.02)
    with transaction.atomic():
        async_task("math.sqrt", 4)
        assert len(packages_on(queue_database)) == 1
        transaction.set_rollback(True)
    assert len(packages_on(queue_database)) == 1


def test_task_joins_the_transaction_of_the_usual_database(q_settings: Any):
    q_settings(orm=DEFAULT_DB_ALIAS, poll=0.02)
    broker = ORM("things")
    with transaction.atomic():
        broker.enqueue("kept")
        with transaction.atomic():
            broker.enqueue("taken back")
            broker.enqueue_many([Consignment("too", "things", None, 0, 3)])
            transaction.set_rollback(True)
        broker.enqueue("kept too", priority=3)
    assert packages_on(DEFAULT_DB_ALIAS) == ["kept", "kept too"]


# -- the isolation level of MariaDB and MySQL


@pytest.mark.skipif(KIND != "mysql", reason="only MariaDB and MySQL")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"isolation_level": "read committed"},
        {"isolation_level": "repeatable read"},
        {"isolation_level": "serializable"},
        {"isolation_level": None},
        {
            "isolation_level": None,
            "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        },
    ],
    ids=str,
)
def test_check_knows_the_isolation_level_that_the_server_uses(options: dict[str, Any]):
    given = {**connections.settings["default"], "OPTIONS": options}
    with added_database(**given) as alias, connections[alias].cursor() as cursor:
        cursor.execute("SHOW VARIABLES LIKE 't%%_isolation'")
        level = dict(cursor.fetchall()).popitem()[1]
        site = Site(
            raw={"orm": alias},
            databases={alias: given},
            caches={},
            logging={},
            secret_key="",
        )
        found = [message.id for message in find_problems(site)]
    assert found == ([] if level == "READ-COMMITTED" else ["django_q.W018"])
