"""Refusals: the records of packages that hold no task that could run."""

from __future__ import annotations

import hashlib
from typing import Final

from picklefield.fields import dbsafe_encode

from django_q import clock, humanhash
from django_q.logs import clean
from django_q.results.record import Record

NO_FUNCTION: Final = "(unreadable package)"


def rejected_record() -> Record:
    """The record of a package that isn't signed by this site: removed, without a row."""
    return _record("0" * 32, "", keep=False, cause="rejected")


def unloadable_record(package: str, reason: str) -> Record:
    """The failure of a package that is ours but can't be opened: a class is gone, say.

    Its id follows from the package: refused twice, it leaves one row.
    """
    task_id = hashlib.sha256(package.encode("utf-8", "replace")).hexdigest()[:32]
    text = f"The package of this task can't be opened: {clean(reason, 2000)}"
    return _record(task_id, text, keep=True, cause="raised")


def _record(task_id: str, text: str, *, keep: bool, cause: str) -> Record:
    now = clock.now().isoformat()
    return Record(
        id=task_id,
        name=humanhash.humanize(task_id),
        func=NO_FUNCTION,
        hook=None,
        args=str(dbsafe_encode(())),
        kwargs=str(dbsafe_encode({})),
        result=str(dbsafe_encode(text)),
        group=None,
        cluster=None,
        started=now,
        stopped=now,
        success=False,
        attempt=1,
        keep=keep,
        cause=cause,
        summary=text,
    )
