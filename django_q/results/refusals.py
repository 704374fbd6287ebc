"""Refusals: the records of packages that hold no task that could run."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from picklefield.fields import dbsafe_encode

from django_q import clock, humanhash
from django_q.logs import clean
from django_q.models.ormq import peek
from django_q.results.encoding import FUNC_SIZE, ID_SIZE, NAME_SIZE, column_text
from django_q.results.record import Record

NO_FUNCTION: Final = "(unreadable package)"


def rejected_record(cause: str = "rejected") -> Record:
    """The record of a package that isn't signed by this site: removed, without a row.

    With another cause, of one that is not to be touched.
    """
    return _record("0" * 32, "", keep=False, cause=cause)


def unloadable_record(package: str, reason: str, *, look: bool = False) -> Record:
    """The failure of a package that is ours but can't be opened: a class is gone, say.

    With `look`, the row has the task's id, name, function and group as far as they can
    be seen without loading anything. Else its id follows from the package: refused
    twice, it leaves one row.
    """
    task_id = hashlib.sha256(package.encode("utf-8", "replace")).hexdigest()[:32]
    text = f"The package of this task can't be opened: {clean(reason, 2000)}"
    record = _record(task_id, text, keep=True, cause="raised")
    return record._replace(**seen_in(package)) if look else record


def seen_in(package: str) -> dict[str, Any]:
    """What can be seen of a task without loading it."""
    task = peek(package)
    if not isinstance(task.get("id"), str) or len(task["id"]) != ID_SIZE:
        return {}
    sizes = {"id": ID_SIZE, "name": NAME_SIZE, "func": FUNC_SIZE, "group": NAME_SIZE}
    texts = {key: task[key] for key in sizes if isinstance(task.get(key), str)}
    return {key: column_text(text, sizes[key]) for key, text in texts.items()}


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
