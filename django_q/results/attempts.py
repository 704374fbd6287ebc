"""Rows of attempts: what came of runs that failed, and of those after them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef

from django_q import clock
from django_q.logs import clean, logger
from django_q.models import Attempt, Task
from django_q.results.database import AT_ONCE, is_refusal
from django_q.results.record import Record
from django_q.transactions import writing

MOST_OF_A_TASK: Final = 100
"""Rows; of a task that is repeated for ever the last ones stay."""

KEPT_ALONE: Final = timedelta(days=7)
"""How long attempts outlive the row of their task, or wait for it."""


def save_attempts(records: Sequence[Record], *, using: str) -> None:
    """Write a row for each of these records that asks for one, in one go.

    Doing so twice is harmless. What the database refuses is told and left out: the task
    itself is not harmed. Raises what Django raises when the database is away.
    """
    noted = [record for record in records if record.noted]
    if not noted:
        return
    rows = [row_of(record) for record in noted]
    attempts = Attempt.objects.using(using)
    with writing(using):
        try:
            with transaction.atomic(using=using):
                attempts.bulk_create(rows, ignore_conflicts=True)
        except (DatabaseError, ValueError, OverflowError) as error:
            if not is_refusal(error):
                raise
            logger.warning("%d attempts are not noted: %s", len(rows), clean(error))
        for row in rows:
            last = row.number - MOST_OF_A_TASK
            if last > 0:
                attempts.filter(task_id=row.task_id, number__lte=last).delete()


def sweep_attempts(*, using: str) -> None:
    """Delete the attempts of tasks whose row is gone, or has never come."""
    attempts = Attempt.objects.using(using).order_by()
    old = attempts.filter(stopped__lt=clock.now() - KEPT_ALONE)
    alone = old.filter(~Exists(Task.objects.filter(pk=OuterRef("task_id"))))
    ids = list(alone.values_list("pk", flat=True))
    for begin in range(0, len(ids), AT_ONCE):
        with writing(using, patient=True):
            attempts.filter(pk__in=ids[begin : begin + AT_ONCE]).delete()


def row_of(record: Record) -> Attempt:
    """The row of one run."""
    stopped = datetime.fromisoformat(record.stopped)
    return Attempt(
        task_id=record.id,
        number=record.attempt,
        worker=record.worker,
        started=stopped - timedelta(seconds=record.ran) if record.worker else None,
        stopped=stopped,
        success=record.success,
        error=record.error,
    )
