"""Rows of results: save them in few statements, and look for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import (
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    router,
    transaction,
)
from django.db.models import Q, QuerySet
from picklefield.fields import dbsafe_encode

from django_q import clock
from django_q.brokers.packets import LARGE, packet_limit
from django_q.envelope import Envelope
from django_q.logs import clean, logger
from django_q.models import Success, Task
from django_q.results.record import Record
from django_q.results.upserts import upsert
from django_q.transactions import freshen, writing

AT_ONCE: Final = 500
"""Rows that are deleted in one go: SQLite lets nobody else write meanwhile."""

CHAINS_AT_ONCE: Final = 250
"""Records that are looked up together, each with its next link: older SQLite takes no more
than 999 values.
"""

MOST_ATTEMPTS: Final = 2**31 - 1
"""What the column holds."""

REFUSALS: Final = (DataError, IntegrityError, ValueError, OverflowError, InterfaceError)
"""What an unfit value leads to, depending on database and driver."""

REFUSED_TEXT: Final = frozenset({1366, 1153, 1301, 3854, 3988})
"""Numbers of MySQL and MariaDB for text that a column can't hold."""


class TooLarge(ValueError):
    """A record is larger than what the database takes at once."""


def write_alias() -> str:
    """The database that results are written to."""
    return router.db_for_write(Success)


def save(records: Sequence[Record], *, using: str) -> None:
    """Make these records durable, all in one transaction; joins the caller's.

    Of several records of one task the best is kept: a success beats a failure, then the
    higher attempt counts. What the database refuses does not stop its neighbours: it
    becomes a failure that says why. Raises what Django raises when the database is away.
    """
    chosen = list(best(records).values())
    if not chosen:
        return
    with writing(using):
        if not _is_accepted(chosen, using):
            for record in chosen:
                _save_alone(record, using)


def save_or_raise(record: Record, *, using: str) -> None:
    """Write one row in the caller's transaction. Raises what the database refuses."""
    _check_size([record], using)
    upsert(connections[using], [record])


def has_succeeded(envelope: Envelope) -> bool:
    """Whether there is a success of this task from after it was queued, or of this slot
    of a schedule from whenever.

    False also where the database can't tell: then it runs once more.
    """
    rows = Success.objects.filter(pk=envelope.id)
    if envelope.slot is None:
        # The same id may be queued again by whoever chose it. A row of this very package
        # has its moment, also where the clock of the one who ran it is behind.
        queued = envelope.started
        rows = rows.filter(Q(stopped__gte=queued) | Q(started=queued))
    return _is_there(rows)


def has_gone_on(envelope: Envelope, link_id: str | None) -> bool:
    """Whether the next task of its chain, which has this id, was run after this one was
    queued. False also where the database can't tell.
    """
    return _is_there(Task.objects.filter(pk=link_id, started__gte=envelope.started))


def unqueued(records: Sequence[Record], *, using: str) -> list[Record]:
    """These records, before they are saved: without their next links where those have run.

    An end that came late, or whose broker did not answer, was perhaps saved before: by
    another cluster, or by us. Then its row has the very moment that it has. Where that
    row is missing, or the link's own, the link is queued: rather twice than never.
    """
    linked = [record for record in records if record.link]
    gone: set[str | None] = set()
    for begin in range(0, len(linked), CHAINS_AT_ONCE):
        gone |= _gone_on(linked[begin : begin + CHAINS_AT_ONCE], using)
    return [_unlinked(r) if r.link_id in gone else r for r in records]


def _gone_on(records: Sequence[Record], using: str) -> set[str | None]:
    """The ids of their next links that have run since these were queued."""
    freshen(connections[using])
    named = {task_id for r in records for task_id in (r.id, r.link_id)}
    rows = Task.objects.using(using).filter(pk__in=named)
    began = dict(rows.values_list("pk", "started"))
    gone: set[str | None] = set()
    for record in records:
        queued, went_on = began.get(record.id), began.get(str(record.link_id))
        is_known = queued == clock.moment(datetime.fromisoformat(record.started))
        if queued and is_known and went_on and went_on >= queued:
            gone.add(record.link_id)
    return gone


def _unlinked(record: Record) -> Record:
    text = "the chain after [%s] has gone on before: its next task is not queued again"
    logger.info(text, clean(record.name))
    return record._replace(link=None, link_id=None, link_queue=None)


def _is_there(rows: QuerySet[Any]) -> bool:
    alias = write_alias()
    try:
        freshen(connections[alias])
        return rows.using(alias).exists()
    except Error:
        return False


def best(records: Iterable[Record]) -> dict[str, Record]:
    """The record of each task that counts."""
    chosen: dict[str, Record] = {}
    for record in records:
        rival = chosen.get(record.id)
        if rival is None or _rank(record) > _rank(rival):
            chosen[record.id] = record
    return chosen


def _rank(record: Record) -> tuple[bool, int]:
    return record.success, record.attempt


def _save_alone(record: Record, using: str) -> None:
    reasons: list[Exception] = []
    if _is_accepted([record], using, reasons):
        return
    logger.error(
        "the result of %s can't be saved: %s", clean(record.id), clean(reasons[0])
    )
    if not _is_accepted([refused(record, reasons[0])], using, reasons):
        logger.error("nor can a note about it: %s", clean(reasons[-1]))


def _is_accepted(
    records: Sequence[Record], using: str, reasons: list[Exception] | None = None
) -> bool:
    """Save in one go; False when the database refuses a value, with the reason."""
    try:
        _check_size(records, using)
        with transaction.atomic(using=using):
            upsert(connections[using], records)
    except (*REFUSALS, OperationalError) as error:
        if not is_refusal(error):
            raise
        if reasons is not None:
            reasons.append(error)
        return False
    return True


def is_refusal(error: Exception) -> bool:
    """Whether a database refused a value, rather than being away or busy."""
    if isinstance(error, OperationalError):
        return bool(error.args) and error.args[0] in REFUSED_TEXT
    if isinstance(error, InterfaceError):
        # SQLite's word for a value that it can't bind; elsewhere the connection is gone.
        return "binding" in str(error)
    return isinstance(error, REFUSALS)


def _check_size(records: Sequence[Record], using: str) -> None:
    if connections[using].vendor != "mysql":
        return
    largest = max(len(r.result) + len(r.args) + len(r.kwargs) for r in records)
    limit = packet_limit(connections[using], largest)
    if largest > limit - LARGE // 4:
        message = f"it needs {largest:,} bytes; max_allowed_packet is {limit:,}"
        raise TooLarge(message)


def refused(record: Record, error: Exception) -> Record:
    """The failure that is saved in place of a record that can't be."""
    text = f"The database refused the result of this task: {clean(error, 1000)}"
    now = clock.now().isoformat()
    return record._replace(
        id=_plain(record.id, 32),
        name=_plain(record.name, 100),
        func=_plain(record.func, 256),
        hook=record.hook and _plain(record.hook, 256),
        group=record.group and _plain(record.group, 100),
        cluster=record.cluster and _plain(record.cluster, 100),
        args=str(dbsafe_encode(())),
        kwargs=str(dbsafe_encode({})),
        result=str(dbsafe_encode(text)),
        started=now,
        stopped=now,
        success=False,
        attempt=min(record.attempt, MOST_ATTEMPTS),
    )


def _plain(text: str, size: int) -> str:
    """Letters that every table takes, whatever its character set."""
    return clean(text, size).encode("ascii", "backslashreplace").decode()[:size]
