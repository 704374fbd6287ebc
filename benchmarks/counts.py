"""Counts: how many tasks of a run are through, wherever a peer says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from redis import Redis


class Traces(Protocol):
    """What a run leaves, as far as it is counted."""

    def executed(self) -> int:
        """How many tasks have run."""

    def ask(self, question: str) -> int:
        """Of the database of the run, in SQL."""

    def ask_file(self, question: str) -> int:
        """Of the file that a peer has for itself."""

    def redis(self, database: int = 0) -> Redis:
        """A client of the Redis of the run."""

    def worker_log(self) -> bytes:
        """What the worker programs have printed."""


Count = Callable[[Traces], int]


def runs(traces: Traces) -> int:
    """Nothing is stored: they have run."""
    return traces.executed()


def rows(source: str, *, less: str = "") -> Count:
    """Rows of a table; `less` those that are not acknowledged."""
    minus = f" - ({less})" if less else ""
    question = f"select (select count(*) from {source}){minus}"  # noqa: S608 - of the catalogue
    return lambda traces: traces.ask(question)


def pruned(count: Count, limit: int) -> Count:
    """The same, less one while there are more successes than the limit lets stay."""
    too_many = f"select 1 from django_q_task where success limit 1 offset {limit}"  # noqa: S608
    question = f"select count(*) from ({too_many}) as surplus"  # noqa: S608
    return lambda traces: count(traces) - traces.ask(question)


def in_file(table: str) -> Count:
    return lambda traces: traces.ask_file(f"select count(*) from {table}")  # noqa: S608


def in_redis(database: int, *command: str) -> Count:
    def count(traces: Traces) -> int:
        client: Any = traces.redis(database)
        return int(client.execute_command(*command))

    return count


def finished_by_log(word: bytes) -> Count:
    """A line for each task that was saved, where rows do not stay."""
    return lambda traces: traces.worker_log().count(word)


def finished_by_saq(traces: Traces) -> int:
    return traces.executed() - int(traces.redis().zcard("saq:default:incomplete"))


def acknowledged_in_redis(traces: Traces) -> int:
    """They have run, and neither wait in a queue of ours nor are held by a cluster.

    A task of ours is acknowledged after its row is committed, so this also counts rows
    that have been pruned since.
    """
    redis = traces.redis()
    holders = redis.scan_iter(match="django_q:bench:held:*", count=1000)
    left = sum(int(redis.hlen(key)) for key in holders)
    return traces.executed() - left - int(redis.llen("django_q:bench:q"))


def acknowledged_in_table(traces: Traces) -> int:
    """The same, where the queue is a table."""
    return traces.executed() - traces.ask("select count(*) from django_q_ormq")
