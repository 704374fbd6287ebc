"""Signboard: where the vital signs of clusters hang, and who else looks for them.

A broker may have a place of its own for them; else they are in the database, where its
table is there; else in the cache. Earlier releases knew only the first and the last, so
what is shared between processes is repeated in the cache, and looked for there as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import NamedTuple, TypeVar

from django.apps import apps
from django.core.cache import BaseCache
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections

from django_q.brokers import stats
from django_q.brokers.base import Broker
from django_q.brokers.elsewhere import Elsewhere, open_elsewhere, options_of
from django_q.brokers.registry import get_broker, load, places
from django_q.exceptions import DjangoQError

Answer = TypeVar("Answer")

UNUSABLE = (DatabaseError, DjangoQError, LookupError)
"""Without the table, or on a database that the queue knows nothing of."""


class Gap(NamedTuple):
    """A broker of this site that can't be asked."""

    queues: list[str]
    """Queues that the settings put there."""

    error: Exception


class View(NamedTuple):
    """What hangs on all boards of this site."""

    found: list[str]
    gaps: list[Gap]


def post(broker: Broker, key: str, value: str, seconds: float) -> None:
    """Hang vital signs up for so long. Raises what the broker raises."""
    if _has_own(broker):
        broker.set_stat(key, value, seconds)
        return
    try:
        _database(broker).set_stat(key, value, seconds)
    except UNUSABLE:
        broker.set_stat(key, value, seconds)


def repeat(cache: BaseCache | None, key: str, value: str, seconds: float) -> None:
    """Hang them up for earlier releases too. Raises what the cache raises."""
    if stats.is_shared(cache):
        stats.set_stat(cache, key, value, seconds)


def look(broker: Broker, key: str) -> str | None:
    """The vital signs of a cluster. Raises what a broker's own store raises."""
    if _has_own(broker):
        own = broker.get_stat(key)
    else:
        own = next(_in_database(broker, key), None)
    return own or _ask_cache(lambda: stats.get_stat(broker.cache, key))


def look_all(broker: Broker, pattern: str) -> list[str]:
    """Those of all clusters; of one that hangs twice, the cache's come last."""
    if _has_own(broker):
        own = list(broker.get_stats(pattern) or ())
    else:
        own = list(_in_database(broker, pattern))
    others = _ask_cache(lambda: stats.get_stats(broker.cache, pattern))
    return own + (others or [])


def ask_everywhere(question: Callable[[Broker], Iterable[str | None]]) -> View:
    """Ask the boards of all brokers that the settings name; this process's own first.

    Raises what that one raises where none of them can be asked.
    """
    view, boards = View([], []), places()
    for first, queues in boards.items():
        try:
            with closing(get_broker(first)) as broker:
                view.found.extend(filter(None, question(broker)))
        except Exception as error:  # noqa: BLE001 - the others are to be seen
            view.gaps.append(Gap(queues, error))
    if len(view.gaps) == len(boards):
        raise view.gaps[0].error
    return view


def _has_own(broker: Broker) -> bool:
    return type(broker).set_stat is not Broker.set_stat


def _database(broker: Broker) -> Broker:
    """The store in the database. Raises one of UNUSABLE."""
    # By its path: whoever only reads vital signs imports no model.
    kind = load("django_q.brokers.orm.ORM")
    if isinstance(broker, Elsewhere):
        store = open_elsewhere(kind, broker.list_key, options_of(broker))
    else:
        store = kind(broker.list_key)
    _find_table(store.database or DEFAULT_DB_ALIAS)
    return store


def _find_table(alias: str) -> None:
    """Raises LookupError where the table is missing: within a transaction of the
    caller's, a query that fails would spoil that.
    """
    table = apps.get_model("django_q", "VitalSign")._meta.db_table  # noqa: SLF001 - public by its docs
    if table not in connections[alias].introspection.table_names():
        raise LookupError(table)


def _in_database(broker: Broker, pattern: str) -> Iterator[str]:
    try:
        found = _database(broker).get_stats(pattern)
    except UNUSABLE:
        return
    yield from found or ()


def _ask_cache(question: Callable[[], Answer]) -> Answer | None:
    try:
        return question()
    except Exception:  # noqa: BLE001 - clients of caches raise what they like
        # It is the second place to look at, and the first has answered.
        return None
