"""The API: everything that an application calls to queue tasks and to read results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.utils.module_loading import import_string

from django_q.models import Schedule, Task
from django_q.tasks.bulk import aasync_bulk, async_bulk
from django_q.tasks.chains import Chain, async_chain
from django_q.tasks.enqueue import aasync_task, async_task
from django_q.tasks.groups import (
    count_group,
    count_group_cached,
    delete_group,
    delete_group_cached,
    fetch_group,
    fetch_group_cached,
    result_group,
    result_group_cached,
)
from django_q.tasks.handle import AsyncTask
from django_q.tasks.iterables import Iter, async_iter
from django_q.tasks.lookup import (
    aresult,
    delete_cached,
    fetch,
    fetch_cached,
    queue_size,
    result,
    result_cached,
)
from django_q.tasks.schedules import schedule

__all__ = [
    "AsyncTask",
    "Chain",
    "Iter",
    "Schedule",
    "Task",
    "aasync_bulk",
    "aasync_task",
    "aresult",
    "async_bulk",
    "async_chain",
    "async_iter",
    "async_task",
    "count_group",
    "count_group_cached",
    "delete_cached",
    "delete_group",
    "delete_group_cached",
    "fetch",
    "fetch_cached",
    "fetch_group",
    "fetch_group_cached",
    "queue_size",
    "result",
    "result_cached",
    "result_group",
    "result_group_cached",
    "schedule",
]

OLD_NAMES: Final = {"Async": "AsyncTask", "async": "async_task"}
"""Names before `async` became a keyword, and what they are now."""

ELSEWHERE: Final = {
    "Conf": "django_q.conf.Conf",
    "SignedPackage": "django_q.signing.SignedPackage",
    "logger": "django_q.logs.logger",
    "pre_enqueue": "django_q.signals.pre_enqueue",
}
"""What tests of projects look for here to change something in it."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in OLD_NAMES:
            return globals()[OLD_NAMES[name]]
        if name in ELSEWHERE:
            return import_string(ELSEWHERE[name])
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
