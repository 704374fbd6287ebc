"""Ours and django-q2: the same settings, so the same configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from benchmarks.configs import OURS, Config, django
from benchmarks.counts import (
    Count,
    acknowledged_in_redis,
    acknowledged_in_table,
    finished_by_log,
    pruned,
    rows,
    runs,
)

SAVED: Final = rows("django_q_task where success")
SAVED_AND_REMOVED: Final = rows(
    "django_q_task where success", less="select count(*) from django_q_ormq"
)
OF_OURS: Final = 60_000
"""Tasks of a drain of ours: long enough for several prunes, which come every 5 seconds."""

LIMIT: Final = 250
"""Successes that are kept by default."""

FINISHED: Final = finished_by_log(b"Processed")
"""A line of django-q2 for each result that it saved."""

Make = Callable[..., Config]


def clusters(peer: str) -> list[Config]:
    def make(name: str, **more: Any) -> Config:
        if peer == OURS:
            more["tasks"] = OF_OURS
        return Config(
            name=f"{peer}-{name}",
            environment=peer,
            producer="with_djangoq",
            commands=(django("qcluster"),),
            **more,
        )

    return [*with_redis(make), *with_orm(make), *limited(make)]


def with_redis(make: Make) -> list[Config]:
    pg: dict[str, Any] = {"database": "pg", "uses_redis": True}
    none: dict[str, Any] = {"q": {"save_limit": -1}}
    anew: dict[str, Any] = {"conn_max_age": 0}
    tuned = {"q": {"queue_limit": 500, "recycle": 100_000, "log_level": "WARNING"}}
    return [
        make("redis-pg", stored=SAVED, tasks=2500, **pg),
        make(
            "redis-pg-maxage0",
            stored=SAVED,
            tasks=500,
            options=anew,
            note="CONN_MAX_AGE 0, Django's default",
            **pg,
        ),
        make(
            "redis-pg-tuned",
            stored=SAVED,
            tasks=2500,
            options=tuned,
            note="queue_limit 500, recycle 100,000, log WARNING",
            **pg,
        ),
        make(
            "redis-sqlite",
            stored=SAVED,
            tasks=4500,
            database="sqlite",
            uses_redis=True,
        ),
        make(
            "redis-nosave",
            stored=runs,
            tasks=7000,
            options=none,
            note="save_limit -1: nothing saved",
            **pg,
        ),
    ]


def with_orm(make: Make) -> list[Config]:
    orm: dict[str, Any] = {"stored": SAVED_AND_REMOVED, "options": {"broker": "orm"}}
    anew = {"options": {"broker": "orm", "conn_max_age": 0}}
    note = "CONN_MAX_AGE 0, Django's default"
    tuned = {"options": {"broker": "orm", "q": {"bulk": 50, "queue_limit": 100}}}
    known = "bulk 50, queue_limit 100"
    return [
        make("orm-pg", tasks=1500, database="pg", **orm),
        make("orm-pg-maxage0", tasks=500, database="pg", note=note, **{**orm, **anew}),
        make("orm-pg-tuned", tasks=1500, database="pg", note=known, **{**orm, **tuned}),
        make("orm-sqlite", tasks=2500, database="sqlite", **orm),
    ]


def through(config: Config) -> Count:
    """Counts tasks that are through where rows do not stay."""
    if config.environment != OURS:
        return FINISHED
    return acknowledged_in_redis if config.uses_redis else acknowledged_in_table


def limited(make: Make) -> list[Config]:
    limit = {"q": {"save_limit": LIMIT}}
    common: dict[str, Any] = {
        "tasks": 800,
        "database": "pg",
        "stored": runs,
        "note": "save_limit 250, the default; timed until no more rows stay",
    }
    configs = [
        make(
            "redis-pg-limit250",
            uses_redis=True,
            options=limit,
            **common,
        ),
        make(
            "orm-pg-limit250",
            options={"broker": "orm", **limit},
            **common,
        ),
    ]
    return [
        replace(config, stored=pruned(through(config), LIMIT)) for config in configs
    ]
