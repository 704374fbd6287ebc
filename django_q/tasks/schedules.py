"""schedule(): plan a task for later, once or again and again."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, router
from django.utils import timezone

from django_q import clock
from django_q.callables import name_of, resolve
from django_q.exceptions import TaskNotFound, TaskNotImportable
from django_q.models import Schedule, ScheduleNote
from django_q.recurrence import Slot, place

CALLER: Final = 4
"""Frames between a warning and the call of schedule() that it is about."""

MINUTE: Final = "%Y-%m-%d %H:%M"

COLUMNS: Final = frozenset(
    {"name", "hook", "schedule_type", "minutes", "repeats", "next_run", "cron"}
    | {"cluster", "intended_date_kwarg"}
)
"""The keywords that belong to the schedule."""


def schedule(
    func: Callable[..., Any] | str,
    *args: Any,
    **kwargs: Any,
) -> Schedule:
    """Plan calls of `func(*args, **kwargs)` and return the row, saved.

    Keywords for the schedule itself, all others (also `q_options`) are the function's:

    * `schedule_type`: one of `Schedule.TYPE`, at first `Schedule.ONCE`
    * `next_run`: the first run: a datetime, an Arrow, or ISO 8601 text; at first now
    * `minutes` for `Schedule.MINUTES`, `cron` for `Schedule.CRON`
    * `repeats`: so many runs; 0 pauses, and negative, as at first, is for ever
    * `name`, `hook`, `cluster`, and `intended_date_kwarg`: the keyword of the function
      that is told its slot

    Arguments are stored as text: only literals can be scheduled. Raises IntegrityError
    for a name that exists, ValidationError for values that can't be stored or run, and
    TaskNotImportable for a function that a worker can't find.
    """
    columns = {key: kwargs.pop(key) for key in COLUMNS & kwargs.keys()}
    slot = _first_slot(columns.pop("next_run", None))
    columns["hook"] = columns.get("hook") and path_of(columns["hook"])
    planned = Schedule(
        func=path_of(func),
        args=str(args),
        kwargs=str(kwargs),
        next_run=slot.moment,
        **columns,
    )
    _refuse_known_name(planned.name)
    planned.full_clean()
    planned.save()
    if slot.anchor:
        ScheduleNote.write(planned, error=None, anchor=slot.anchor)
    return planned


def path_of(func: Callable[..., Any] | str) -> str:
    """The dotted path under which a worker finds a function."""
    if isinstance(func, str):
        return func
    path = name_of(func)
    if not inspect.ismethod(func):
        path = f"{getattr(func, '__module__', '')}.{getattr(func, '__qualname__', '')}"
    try:
        found = resolve(path)
    except TaskNotFound:
        found = None
    if found != func:
        message = f"A worker can't find {name_of(func)} under any name."
        hint = "Move it to the top level of a module."
        raise TaskNotImportable(message, hint=hint)
    return path


def _refuse_known_name(name: str | None) -> None:
    """Raise IntegrityError if a schedule has this name already."""
    rows = Schedule.objects.using(router.db_for_write(Schedule))
    columns = ("schedule_type", "next_run")
    known = rows.filter(name=name).only(*columns).first() if name else None
    if known is None:
        return
    rhythm = known.get_schedule_type_display()
    message = f"A schedule named {name!r} exists ({rhythm}, next run {known.next_run})."
    raise IntegrityError(f"{message} Change that one, or choose another name.")


# ------------------------------------------------------------------- the first run


def _first_slot(given: Any) -> Slot:
    """The first run that was asked for, as the row will have it."""
    moment = clock.now() if given is None else _as_datetime(given)
    if not settings.USE_TZ:
        return Slot(timezone.make_naive(moment) if moment.tzinfo else moment)
    zone = moment.tzinfo or timezone.get_default_timezone()
    if moment.tzinfo is None:
        _warn(f"next_run has no time zone; {moment:{MINUTE}} was taken as {zone}.")
    slot = place(moment.replace(tzinfo=None), zone)
    if slot.meant is None:
        # Not the slot itself: of two equal times on the wall it is always the first.
        return Slot(moment.replace(tzinfo=zone))
    late = f"(clocks go forward); it will run at {slot.moment.astimezone(zone):%H:%M}."
    _warn(f"next_run {slot.meant:{MINUTE}} doesn't exist in {zone} {late}")
    return slot


def _as_datetime(given: Any) -> datetime:
    """A datetime, an Arrow, or text, as a datetime."""
    if isinstance(given, str):
        return datetime.fromisoformat(given)
    moment = getattr(given, "datetime", given)
    if isinstance(moment, datetime):
        return moment
    message = f"next_run must be a datetime or ISO 8601 text, not {given!r}."
    raise TypeError(message)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=CALLER)
