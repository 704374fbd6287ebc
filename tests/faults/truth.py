"""Truth: what the tasks wrote down themselves, read as who was at what."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from django.db import OperationalError, connection, transaction

from django_q.models import Task
from tests.acceptance.harness import RunningCluster
from tests.faults.bench import WORKERS, Bench
from tests.waiting import wait_until

PROBES: Final = {
    "postgresql": "LOCK TABLE django_q_ormq, django_q_task IN SHARE MODE NOWAIT",
    "mysql": "SELECT id FROM django_q_ormq FOR UPDATE NOWAIT",
}
"""Refused at once while somebody has written and not committed."""


class Moment(NamedTuple):
    """One line of a task's log."""

    kind: str
    """"start" or "end"."""

    word: str
    pid: int
    when: float


def moments(bench: Bench) -> Iterator[Moment]:
    """In the order in which they were written."""
    log = Path(bench.log)
    for line in log.read_text().splitlines() if log.exists() else ():
        what, pid, when = line.split()
        kind, _, word = what.partition(":")
        yield Moment(kind, word, int(pid), float(when))


def in_hand(bench: Bench, cluster: RunningCluster) -> dict[int, str]:
    """Worker of this cluster -> what it has begun and not ended."""
    last = {moment.pid: moment for moment in moments(bench) if cluster.has(moment.pid)}
    return {m.pid: m.word for m in last.values() if m.kind == "start"}


def saved(bench: Bench) -> set[str]:
    """The words of what has a row."""
    return {row.args[1] for row in Task.objects.filter(cluster=bench.queue)}


def unsaved(bench: Bench) -> set[str]:
    """The words of what has ended and has no row."""
    return set(bench.ended()) - saved(bench)


@contextmanager
def paused_at_work(
    bench: Bench, cluster: RunningCluster, workers: int = WORKERS
) -> Iterator[set[str]]:
    """All its processes stand still while so many workers have a task in hand; gives
    the words of what it has begun and not recorded.

    None of them is in a transaction: that would keep others out until it ends, which is
    the database's business.
    """

    def is_at_work() -> bool:
        return len(in_hand(bench, cluster)) >= workers

    while True:
        wait_until(is_at_work)
        with cluster.paused():
            if is_at_work() and nothing_is_locked():
                ours = {m.word for m in moments(bench) if cluster.has(m.pid)}
                yield ours - saved(bench)
                return


def nothing_is_locked() -> bool:
    """Whether no transaction is open that has written something."""
    if connection.vendor == "sqlite":
        return is_free(Path(connection.settings_dict["NAME"]))
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(PROBES[connection.vendor])
    except OperationalError:
        return False
    return True


def is_free(file: Path) -> bool:
    """Whether nobody writes to this SQLite database, or waits for his turn."""
    turnstile = file.with_name(f"{file.name}-turnstile")
    try:
        with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("ROLLBACK")
        with turnstile.open("ab") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (sqlite3.OperationalError, BlockingIOError):
        return False
    return True


def overtaken(bench: Bench, cluster: RunningCluster) -> list[str]:
    """The words of what this cluster began although others had begun it before."""
    begun: set[str] = set()
    late = []
    for moment in moments(bench):
        if moment.kind != "start":
            continue
        if not cluster.says(rf" ready for work at {moment.pid}\n"):
            begun.add(moment.word)
        elif moment.word in begun:
            late.append(moment.word)
    return late


def records(
    bench: Bench, of: Iterable[str] | None = None
) -> dict[str, dict[str, object]]:
    """All that the rows of these tasks say, or those of all tasks; by id."""
    rows = Task.objects.filter(cluster=bench.queue)
    chosen = rows if of is None else rows.filter(id__in=of)
    return {row["id"]: dict(row) for row in chosen.values()}
