"""The admin: ended tasks with resubmit, schedules, and the queue of the database.

Pages show what is stored without loading a pickle: looking must not run anything.
Projects subclass these classes and register their own.
"""

from __future__ import annotations

from django.contrib import admin

from django_q.admin.queue import QueueAdmin
from django_q.admin.schedules import ScheduleAdmin
from django_q.admin.tasks import FailAdmin, TaskAdmin, resubmit_task
from django_q.conf import Conf
from django_q.models import Failure, OrmQ, Schedule, Success

__all__ = [
    "FailAdmin",
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
if Conf.ORM or Conf.TESTING:
    admin.site.register(OrmQ, QueueAdmin)
