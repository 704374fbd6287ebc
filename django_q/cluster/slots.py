"""Slots: the moments at which a schedule's row says that it runs."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Final

from django_q import clock
from django_q.models import Schedule
from django_q.recurrence import Recurrence, Slot

SLOTS: Final = uuid.UUID("0b5d8a1c-6f0e-5c52-9d0f-6d1f7f4f9a35")
"""Namespace of the ids of scheduled tasks."""


def rhythm_of(schedule: Schedule) -> Recurrence:
    """When a schedule runs."""
    return Recurrence(
        schedule_type=schedule.schedule_type,
        minutes=schedule.minutes,
        cron=schedule.cron,
        zone=clock.zone(),
    )


def slot_of(schedule: Schedule) -> Slot:
    """The slot that a schedule's row stands at."""
    meant = datetime.fromisoformat(schedule.anchor) if schedule.anchor else None
    return Slot(moment_of(schedule), meant)


def moment_of(schedule: Schedule) -> datetime:
    """The next run of a row that has one, in UTC; naive where USE_TZ is False."""
    moment = schedule.next_run
    if moment is None:
        message = "It has no next run."
        raise ValueError(message)
    return moment if moment.tzinfo is None else moment.astimezone(UTC)


def slot_id(schedule: Schedule) -> str:
    """The id of the task of this slot: the same whoever asks, and how often.

    The task before is part of it, so that a slot that somebody sets a second time is
    a second task.
    """
    text = f"{schedule.pk}:{moment_of(schedule).isoformat()}:{schedule.task or ''}"
    return uuid.uuid5(SLOTS, text).hex
