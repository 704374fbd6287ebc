"""The filler: `python -m benchmarks.site.fill waiting|copies|rows COUNT`.

Waiting tasks are packages that the release signs itself, with a number each, put where
its clusters look for them: by its bulk call, or else by the thousand in one round trip.
Copies wait behind them and are not to be begun: rows that the database makes of the last
one, or packages of the same size that nobody has signed, put into Redis by the broker.
Rows are copies, made by the database, of one result that the models have saved.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import uuid4

import django
from django.db import connection
from django.utils import timezone

from benchmarks.site.produce import chunks
from benchmarks.site.told import OPTIONS

GROUPS: Final = OPTIONS.get("groups", 1)
"""As the tasks that run beside them."""

DIGITS: Final = 12
MARK: Final = "filled"
"""Name of rows that no task has left."""


class Dialect(NamedTuple):
    """How a database says it."""

    numbers: str
    """A table with the numbers from 1 to that, as n."""

    key: str
    """Another id for each n."""

    later: str
    """That moment, and n milliseconds."""


POSTGRESQL: Final = Dialect(
    "generate_series(1, {}) AS n",
    "lpad(to_hex(n), 32, '0')",
    "{} + n * interval '1 millisecond'",
)
SQLITE: Final = Dialect(
    "(WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers"
    " WHERE n < {}) SELECT n FROM numbers)",
    "printf('%032x', n)",
    "strftime('%Y-%m-%d %H:%M:%f', {}, (n / 1000.0) || ' seconds')",
)


def fill_queue(count: int) -> None:
    from benchmarks.site import with_djangoq

    put = getattr(with_djangoq, "bulk", put_packages)
    for numbers in chunks(range(count)):
        put([(number, 2) for number in numbers])


def put_copies(count: int) -> None:
    from django_q.brokers import get_broker
    from django_q.models import OrmQ

    broker = get_broker()
    if type(broker).__name__ == "Redis":
        put_unsigned(broker, count)
    else:
        # The database numbers them, and each has an id where rows have one.
        last = OrmQ.objects.latest("id").pk
        copy(OrmQ, last, count, but="id", task_id=dialect().key)


def put_unsigned(broker: Any, count: int) -> None:
    """With all that the broker notes of a package."""
    from django_q.signing import SignedPackage

    package = SignedPackage.dumps(task(0, 2))[:-DIGITS]
    for numbers in chunks(range(count)):
        packages = [f"{package}{number:0{DIGITS}x}" for number in numbers]
        if not hasattr(broker, "enqueue_many"):
            broker.connection.rpush(broker.list_key, *packages)
            continue
        base = importlib.import_module("django_q.brokers.base")
        ids = [f"{number:032x}" for number in numbers]
        queues = [broker.short_key] * len(ids)
        broker.enqueue_many([*map(base.Consignment, packages, queues, ids)])


def put_packages(pairs: Sequence[tuple[int, int]]) -> None:
    """As a release without a bulk call would put them."""
    from django_q.brokers import get_broker
    from django_q.models import OrmQ
    from django_q.signing import SignedPackage

    broker = get_broker()
    packages = [SignedPackage.dumps(task(*pair)) for pair in pairs]
    if type(broker).__name__ == "Redis":
        broker.connection.rpush(broker.list_key, *packages)
        return
    due = timezone.now()
    new = [OrmQ(key=broker.list_key, payload=each, lock=due) for each in packages]
    OrmQ.objects.bulk_create(new)


def task(a: int, b: int) -> dict[str, Any]:
    return {
        "id": uuid4().hex,
        "name": f"task-{a}",
        "func": "benchmarks.site.body.noop",
        "args": (a, b),
        "kwargs": {},
        "started": timezone.now(),
    }


def fill_results(count: int) -> None:
    """Older than any task of the run, a millisecond apart, in the groups of its tasks."""
    from django_q.models import Task

    begun = timezone.now() - timedelta(days=30)
    one = Task.objects.create(
        id=uuid4().hex,
        name=MARK,
        func="benchmarks.site.body.noop",
        args=(1, 2),
        kwargs={},
        result=3,
        started=begun,
        stopped=begun,
        success=True,
        group="g0",
    )
    way = dialect()
    changed = {"id": way.key, "group": f"'g' || (n % {GROUPS})"}
    changed |= {name: way.later.format(name) for name in ("started", "stopped")}
    copy(Task, one.pk, count - 1, **changed)


def dialect() -> Dialect:
    return POSTGRESQL if connection.vendor == "postgresql" else SQLITE


def copy(model: Any, key: Any, count: int, *, but: str = "", **changed: str) -> None:
    """Rows like this one, with other values of the columns that are named, and none of
    the one that the database fills in.
    """
    quote = connection.ops.quote_name
    columns = [field.column for field in model._meta.concrete_fields]  # noqa: SLF001
    names = [name for name in columns if name != but]
    copied = ", ".join(map(quote, names))
    values = ", ".join(changed.get(name, quote(name)) for name in names)
    table = quote(model._meta.db_table)  # noqa: SLF001
    with connection.cursor() as cursor:
        # Without parameters, so that signs of percent are left alone.
        cursor.execute(
            f"INSERT INTO {table} ({copied}) SELECT {values}"  # noqa: S608
            f" FROM {table}, {dialect().numbers.format(count)} WHERE id = '{key}'"
        )
        cursor.execute("ANALYZE")


if __name__ == "__main__":
    django.setup()
    what, count = sys.argv[1:]
    fillers: dict[str, Callable[..., None]] = {
        "waiting": fill_queue,
        "copies": put_copies,
        "rows": fill_results,
    }
    fillers[what](int(count))
