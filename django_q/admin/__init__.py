"""The admin: ended tasks with resubmit, schedules, the outbox, and the database's queue.

Pages show what is stored without loading a pickle: looking must not run anything.
Projects subclass these classes and register their own.
"""

from __future__ import annotations

from django.contrib import admin

from django_q.admin.outbox import OutboxAdmin
from django_q.admin.queue import QueueAdmin
from django_q.admin.schedules import ScheduleAdmin
from django_q.admin.tasks import FailAdmin, TaskAdmin, resubmit_task
from django_q.conf import Conf
from django_q.models import Failure, OrmQ, OutboxEntry, Schedule, Success

__all__ = [
    "FailAdmin",
    "OutboxAdmin",
    "QueueAdmin",
    "ScheduleAdmin",
    "TaskAdmin",
    "resubmit_task",
    "retry_failed",
]

retry_failed = resubmit_task
"""Its name in 1.3.9."""

admin.site.register(Success, TaskAdmin)
admin.site.register(Failure, FailAdmin)
admin.site.register(Schedule, ScheduleAdmin)
admin.site.register(OutboxEntry, OutboxAdmin)
if Conf.ORM or Conf.TESTING:
    admin.site.register(OrmQ, QueueAdmin)
