"""The catalogue: every configuration that can be measured, and what it needs installed.

All of them have two worker processes, run the same task, and differ in what their notes
say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from benchmarks.clusters import clusters
from benchmarks.configs import EARLIER, OURS, Config
from benchmarks.peers import (
    celery,
    dramatiq,
    huey,
    of_django_tasks,
    rq,
    with_event_loops,
    with_postgresql,
)

DRIVER: Final = "psycopg[binary]"

ENVIRONMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    # What the checkout needs besides is in its own setup.py.
    OURS: (DRIVER,),
    EARLIER: ("django-q2", "redis", DRIVER, "setuptools"),
    "celery": ("celery[redis]", "django-celery-results", "django", DRIVER),
    "rq": ("django-rq", "rq", "django"),
    "huey": ("huey", "redis", "django"),
    "dramatiq": ("dramatiq[redis,watch]",),
    "procrastinate": ("procrastinate[django]", "django", DRIVER),
    "djangotasksdb": ("django-tasks-db", "django>=6", DRIVER),
    "djqueue": ("dj-queue", "django>=6", DRIVER),
    "pq": ("pq", "psycopg2-binary"),
    "saq": ("saq[redis,hiredis]", "typing_extensions", "setuptools"),
    "taskiq": ("taskiq", "taskiq-redis"),
}
"""What is installed, from the package index, into an environment of its own."""

CONFIGS: Final[Mapping[str, Config]] = {
    config.name: config
    for config in (
        *clusters(OURS),
        *clusters(EARLIER),
        *celery(),
        *rq(),
        *huey(),
        *dramatiq(8, 9000),
        *dramatiq(1, 2500),
        *with_event_loops(),
        *with_postgresql(),
        *of_django_tasks("sqlite"),
    )
}


class UnknownName(Exception):
    """Neither a configuration nor a group; the message names it."""


def choose(names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[Config]:
    """What groups, names and patterns such as "ours-*" mean, each once, in their order."""
    chosen: dict[str, Config] = {}
    for name in names:
        members = groups.get(name) or [c for c in CONFIGS if fnmatchcase(c, name)]
        if not members:
            raise UnknownName(f"{name} is no group and no configuration: see `list`.")
        chosen |= {member: CONFIGS[member] for member in members}
    return list(chosen.values())
