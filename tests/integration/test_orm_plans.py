"""The statements of the ORM broker walk over nothing that waits for its time."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections, transaction

from django_q.brokers import Consignment, postgres_table, trail
from django_q.brokers.orm import ORM
from tests.aliases import added_database
from tests.waiting import wait_until

KIND = django_settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]

pytestmark = pytest.mark.django_db(transaction=True)

CROWD = 6_000
"""Rows that wait in each priority. PostgreSQL needs more than PAGES to walk over them."""

DEAD = 1_000
"""Rows that are gone, and yet there for a transaction that is open."""

ROWS = 300
"""Rows, or steps of as many rows, that a verb may look at on MariaDB and SQLite."""

PAGES = 150
"""Pages that a statement may look at on PostgreSQL to find its rows."""


@pytest.fixture
def broker(q_settings: Any) -> Iterator[ORM]:
    """Many rows wait for their time before and behind the few that are due."""
    q_settings(poll=0.02, retry=30)
    broker = ORM("crowded")
    due = [Consignment(str(n), "crowded", None, 0, n % 2) for n in range(12)]
    later = [
        Consignment("later", "crowded", None, 3600, priority)
        for priority in (5, 1, 0, -5)
        for _ in range(CROWD)
    ]
    broker.enqueue_many([*later, *due])
    broker.enlist(uuid.uuid4().hex, 30)
    yield broker
    broker.close()


def claim_some(broker: ORM) -> None:
    packages = [package for _, package in broker.dequeue(8)]
    assert packages == ["1", "3", "5", "7", "9", "11", "0", "2"]


def claim_more_than_there_are(broker: ORM) -> None:
    assert len(broker.dequeue(20)) == 12


def look_ahead(broker: ORM) -> None:
    assert len(broker.peek(20)) == 12


def ask_when_the_next_is_due(broker: ORM) -> None:
    assert 3500 < (broker.next_due() or 0) <= 3600


def give_back(broker: ORM) -> None:
    receipts = [str(delivery.receipt) for delivery in broker.held()]
    with counted() as looked_at:
        assert broker.release(receipts) == set(receipts)
    assert_few(looked_at())


VERBS = (
    claim_some,
    claim_more_than_there_are,
    look_ahead,
    ask_when_the_next_is_due,
)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: str(verb.__name__))
def test_few_rows_are_looked_at_to(broker: ORM, verb: Callable[[ORM], None]):
    with counted() as looked_at:
        verb(broker)
    assert_few(looked_at())


def test_few_rows_are_looked_at_to_give_some_back(broker: ORM):
    broker.dequeue(3)
    give_back(broker)


@pytest.mark.skipif(KIND != "postgresql", reason="only PostgreSQL keeps dead rows")
def test_claims_begin_behind_the_dead_rows_that_an_open_transaction_keeps(
    q_settings: Any, monkeypatch: pytest.MonkeyPatch
):
    q_settings(poll=0.02, retry=30)
    broker = ORM("busy")
    broker.enlist(uuid.uuid4().hex, 30)
    monkeypatch.setattr(trail, "SLOW", 60.0)
    # Its rows are all young.
    monkeypatch.setattr(postgres_table, "MARGIN", 0)
    with (
        added_database(**connections.settings["default"]) as alias,
        transaction.atomic(using=alias),
    ):
        with connections[alias].cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT COUNT(*) FROM django_q_ormq")
        large = Consignment("done" * 400, "busy")
        broker.enqueue_many([large] * DEAD)
        done = [str(delivery.receipt) for delivery in broker.dequeue(DEAD)]
        assert broker.acknowledge_many(done) == set(done)
        assert pages_of_a_claim(broker) > PAGES
        monkeypatch.setattr(trail, "SLOW", -60.0)
        for _ in range(trail.SUSPICIOUS):
            assert broker.dequeue(1) == []
        assert pages_of_a_claim(broker) < PAGES
        broker.enqueue("at once")
        assert [package for _, package in broker.dequeue()] == ["at once"]
        broker.enqueue("soon", priority=7)
        wait_until(lambda: broker.dequeue(1))
    broker.close()


def pages_of_a_claim(broker: ORM) -> int:
    broker.enqueue("one")
    with pages_of_postgres("UPDATE") as looked_at:
        assert len(broker.dequeue(1)) == 1
    return looked_at()


def assert_few(looked_at: int) -> None:
    limit = PAGES if connection.vendor == "postgresql" else ROWS
    assert 0 < looked_at < limit


@contextmanager
def counted() -> Iterator[Callable[[], int]]:
    """How much the database looks at meanwhile, in the measure that it offers."""
    counting = {
        "postgresql": pages_of_postgres,
        "mysql": rows_of_mariadb,
        "sqlite": steps_of_sqlite,
    }
    with counting[connection.vendor]() as looked_at:
        yield looked_at


@contextmanager
def pages_of_postgres(kind: str = "") -> Iterator[Callable[[], int]]:
    """Those of the statement that looks at most of them; each is run twice."""
    pages = [0]

    def explain(execute: Any, sql: str, values: Any, many: bool, context: Any) -> Any:
        if "django_q_ormq" in sql and sql.startswith(kind) and not many:
            with transaction.atomic():
                with context["connection"].connection.cursor() as cursor:
                    explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
                    cursor.execute(explain + sql, values)
                    [[plan]] = cursor.fetchall()
                transaction.set_rollback(True)
            plans = json.loads(plan) if isinstance(plan, str) else plan
            pages.append(pages_of(plans[0]["Plan"]))
        return execute(sql, values, many, context)

    with connection.execute_wrapper(explain):
        yield lambda: max(pages)


def pages_of(node: dict[str, Any]) -> int:
    """Pages of the index of the order, and of the rows to which it led."""
    pages = sum(map(pages_of, node.get("Plans", ())))
    if node.get("Index Name") == "django_q_ormq_order" or "Seq" in node["Node Type"]:
        pages += node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    return pages


@contextmanager
def rows_of_mariadb() -> Iterator[Callable[[], int]]:
    def read() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(number) for _, number in cursor.fetchall())

    before = read()
    yield lambda: read() - before


@contextmanager
def steps_of_sqlite() -> Iterator[Callable[[], int]]:
    """One row takes about ten steps of its machine."""
    steps = [0]

    def step() -> None:
        steps[0] += 1

    connection.ensure_connection()
    raw: Any = connection.connection
    raw.set_progress_handler(step, 10)
    yield lambda: steps[0]
    raw.set_progress_handler(None, 10)
