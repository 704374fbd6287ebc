"""Bars: what is to be reached, each with the configurations that it is measured by.

The configurations of a bar are a group that can be measured with one word, such as
`drain redis-pg`: side by side in one run, because machines change their speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

Names = tuple[str, ...]


class Bar(NamedTuple):
    """One figure of ours, and what it is held against."""

    kind: str
    group: str
    figure: str
    ours: str
    aim: float
    """So many times better than the best of the others, or a bound if there are none."""

    others: Names = ()
    is_cost: bool = False
    """Less of it is better."""


DJANGO_STORES: Final = ("celery-django-pg", "celery-django-pg-tuned")
ANY_STORES: Final = ("dramatiq-t8", "huey", "taskiq", "saq")
KEEP_NOTHING: Final = ("dramatiq-t8-noresult", "huey-noresult", "djangoq2-redis-nosave")
REDIS_CALLERS: Final = ("huey", "dramatiq-t8", "saq", "taskiq")
REDIS_WAITERS: Final = ("huey", "taskiq", "saq", "rq-simple")
PG_CALLERS: Final = ("procrastinate", "pq", "djangotasksdb-pg", "djangoq2-orm-pg")
FILE_CALLERS: Final = ("huey-sqlite", "djangoq2-orm-sqlite", "djangotasksdb-sqlite")
BULK_CALLERS: Final = ("procrastinate", "rq-simple", "djqueue-pg")
STARTERS: Final = (
    "djangoq2-orm-sqlite",
    "djangoq2-redis-sqlite",
    "huey",
    "rq-simple",
    "djqueue-sqlite",
    "procrastinate",
)


def drains() -> list[Bar]:
    def bar(group: str, aim: float, *others: str, ours: str = "") -> Bar:
        return Bar("drain", group, "rate", ours or f"ours-{group}", aim, others)

    limited, aged = "redis-pg-limit250", "redis-pg-maxage0"
    return [
        bar("redis-pg", 20, "djangoq2-redis-pg"),
        bar("redis-pg", 20, *DJANGO_STORES),
        bar("redis-pg", 4, *ANY_STORES),
        bar("redis-sqlite", 10, "djangoq2-redis-sqlite"),
        bar("redis-nosave", 5, *KEEP_NOTHING),
        bar("orm-pg", 15, "djangoq2-orm-pg"),
        bar("orm-pg", 6, "djqueue-pg-t1"),
        bar("orm-pg", 4, "pq"),
        bar("orm-sqlite", 10, "djangoq2-orm-sqlite"),
        bar("orm-sqlite", 4, "huey-sqlite"),
        bar("limit250", 0.9, "ours-redis-pg", ours=f"ours-{limited}"),
        bar("limit250", 0.9, "ours-orm-pg", ours="ours-orm-pg-limit250"),
        bar("maxage0", 0.9, "ours-redis-pg", ours=f"ours-{aged}"),
        bar("maxage0", 0.9, "ours-orm-pg", ours="ours-orm-pg-maxage0"),
    ]


def calls() -> list[Bar]:
    redis, pg, file = "ours-redis-pg", "ours-orm-pg", "ours-orm-sqlite"
    return [
        Bar("enqueue", "redis", "rate", redis, 1, REDIS_CALLERS),
        Bar("enqueue", "orm-pg", "rate", pg, 1, PG_CALLERS),
        Bar("enqueue", "orm-sqlite", "rate", file, 1, FILE_CALLERS),
        Bar("bulk", "redis", "rate", redis, 2, BULK_CALLERS),
        Bar("bulk", "orm-pg", "rate", pg, 2, BULK_CALLERS),
    ]


def costs() -> list[Bar]:
    def bar(kind: str, group: str, figure: str, aim: float, others: Names = ()) -> Bar:
        ours = "ours-redis-pg" if group == "redis" else f"ours-{group}"
        return Bar(kind, group, figure, ours, aim, others, is_cost=True)

    return [
        bar("latency", "redis", "p50", 1, REDIS_WAITERS),
        bar("latency", "redis", "p99", 1, REDIS_WAITERS),
        bar("latency", "orm-pg", "p50", 1, ("pq",)),
        bar("latency", "orm-pg", "p99", 1, ("pq",)),
        bar("latency", "orm-sqlite", "p50", 4, ("huey-sqlite",)),
        bar("latency", "orm-sqlite", "p99", 4, ("huey-sqlite",)),
        bar("idle", "redis", "cpu_30", 0.05),
        bar("idle", "redis", "redis_calls", 1),
        bar("idle", "redis", "transactions", 1),
        bar("idle", "orm-pg", "cpu_30", 0.05),
        bar("idle", "orm-pg", "transactions", 1),
        bar("idle", "orm-sqlite", "cpu_30", 0.05),
        bar("memory", "redis", "mib", 60),
        bar("memory", "orm-pg", "mib", 60),
        bar("memory", "orm-sqlite", "mib", 60),
        bar("start", "redis-sqlite", "start", 1, STARTERS),
        bar("start", "orm-sqlite", "start", 1, STARTERS),
    ]


BARS: Final = (*drains(), *calls(), *costs())

COMPANY: Final[Mapping[tuple[str, str], Names]] = {
    ("drain", "redis-pg"): ("celery-redis", "celery-redis-tuned", "rq", "rq-simple"),
    ("drain", "redis-sqlite"): ("celery-django-sqlite",),
    ("drain", "orm-pg"): (
        "procrastinate",
        "procrastinate-c10",
        "djangotasksdb-pg",
        "djqueue-pg",
        "djangoq2-orm-pg-tuned",
    ),
    ("drain", "orm-sqlite"): ("djangotasksdb-sqlite", "djqueue-sqlite"),
    ("idle", "redis"): ("taskiq", "huey", "djangoq2-redis-pg"),
    ("idle", "orm-pg"): ("pq", "djangoq2-orm-pg"),
    ("idle", "orm-sqlite"): ("huey-sqlite", "djangoq2-orm-sqlite"),
    ("memory", "redis"): ("djangoq2-redis-pg", "celery-redis", "huey"),
    ("memory", "orm-pg"): ("djangoq2-orm-pg", "procrastinate"),
    ("memory", "orm-sqlite"): ("djangoq2-orm-sqlite", "huey-sqlite"),
    ("latency", "redis"): ("djangoq2-redis-pg",),
    ("latency", "orm-pg"): ("procrastinate", "djangoq2-orm-pg"),
    ("latency", "orm-sqlite"): ("djangoq2-orm-sqlite",),
    ("drain", "limit250"): ("djangoq2-redis-pg-limit250",),
    ("drain", "maxage0"): ("djangoq2-redis-pg-maxage0",),
}
"""Measured and shown beside, where no bar says how they compare."""


def groups_of(kind: str) -> dict[str, list[str]]:
    """The groups of a kind, ours first."""
    found: dict[str, dict[str, None]] = {}
    for bar in BARS:
        if bar.kind == kind:
            group = found.setdefault(bar.group, {})
            group |= dict.fromkeys([bar.ours, *bar.others])
    for (of_kind, name), others in COMPANY.items():
        if of_kind == kind:
            found[name] |= dict.fromkeys(others)
    return {name: list(members) for name, members in found.items()}
