"""The tables: ended tasks, schedules, and the queue of the database broker."""

from __future__ import annotations

from django_q.models.attempt import Attempt
from django_q.models.hooks import call_hook
from django_q.models.ormq import OrmQ
from django_q.models.outbox import OutboxEntry
from django_q.models.pauses import PausedQueue
from django_q.models.schedule import Schedule, ScheduleNote
from django_q.models.task import Failure, Success, Task
from django_q.models.validators import validate_cron, validate_kwarg
from django_q.models.vitals import VitalSign

__all__ = [
    "Attempt",
    "Failure",
    "OrmQ",
    "OutboxEntry",
    "PausedQueue",
    "Schedule",
    "ScheduleNote",
    "Success",
    "Task",
    "VitalSign",
    "call_hook",
    "validate_cron",
    "validate_kwarg",
]
