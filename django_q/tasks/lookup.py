"""Lookup: the results of single tasks, by id or name."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

from django_q.brokers import Broker
from django_q.conf import get_options
from django_q.logs import print_safely
from django_q.models import Task
from django_q.results import ResultCache, open_cache, wait_for, wait_for_async
from django_q.tasks.enqueue import keep_broker

Cached = bool | int | None
"""None: what the setting `cached` says."""


def result(task_id: str, wait: float = 0, cached: Cached = None) -> Any:
    """What a task returned, or the text of its error; None if it has not ended.

    `task_id` is its id or name; `wait` says how many milliseconds it may take until the
    task ends: 0 looks once, a negative number waits for ever.
    """
    if uses_cache(cached):
        return result_cached(task_id, wait)
    return value_in(wait_for(partial(Task.get_task, checked(task_id)), wait))


async def aresult(task_id: str, wait: float = 0, cached: Cached = None) -> Any:
    """`result` for coroutines: others go on meanwhile."""
    if uses_cache(cached):
        look = partial(open_results().find, checked(task_id))
        return _value_in_dict(await wait_for_async(look, wait))
    find = partial(Task.get_task, checked(task_id))
    return value_in(await wait_for_async(find, wait))


def result_cached(task_id: str, wait: float = 0, broker: Broker | None = None) -> Any:
    """`result` from the cache; by id only."""
    look = partial(open_results(broker).find, checked(task_id))
    return _value_in_dict(wait_for(look, wait))


def fetch(task_id: str, wait: float = 0, cached: Cached = None) -> Task | None:
    """An ended task, with everything that is known about it; as `result` otherwise."""
    if uses_cache(cached):
        return fetch_cached(task_id, wait)
    return wait_for(partial(Task.get_task, checked(task_id)), wait)


def fetch_cached(
    task_id: str, wait: float = 0, broker: Broker | None = None
) -> Task | None:
    """`fetch` from the cache; by id only.

    The task is in no table; its `save()` writes it into one.
    """
    look = partial(open_results(broker).find, checked(task_id))
    found = wait_for(look, wait)
    return None if found is None else task_of(found)


def delete_cached(task_id: str, broker: Broker | None = None) -> bool:
    """Delete a result from the cache. Whether there was one."""
    return open_results(broker).delete(checked(task_id))


def queue_size(broker: Broker | None = None) -> int:
    """How many packages wait on the queue."""
    return (broker or keep_broker()).queue_size()


def uses_cache(cached: Cached) -> bool:
    """Whether to look into the cache."""
    return bool(get_options().cached if cached is None else cached)


def open_results(broker: Broker | None = None) -> ResultCache:
    """The cached results of a broker's queue. Raises LookupError without a cache."""
    return open_cache(get_options(), (broker or keep_broker()).list_key)


def checked(task_id: Any) -> str:
    """The id or name of a task. Raises TypeError for anything but text."""
    if isinstance(task_id, str):
        return task_id
    shown = print_safely(task_id, repr)
    advice = " Write task_id.hex." if isinstance(task_id, uuid.UUID) else ""
    message = f"A task is found by its id or name, as text, not by {shown}.{advice}"
    raise TypeError(message)


def value_in(task: Task | None) -> Any:
    """A task's result; None for none, and for a task that returned it."""
    return None if task is None else task.result


def task_of(found: dict[str, Any]) -> Task:
    """A cached task as a row that is not in the table."""
    return Task(
        id=found["id"],
        name=found["name"],
        func=found["func"],
        hook=found.get("hook"),
        args=found["args"],
        kwargs=found["kwargs"],
        cluster=found.get("cluster"),
        started=found["started"],
        stopped=found["stopped"],
        result=found["result"],
        success=found["success"],
    )


def _value_in_dict(found: dict[str, Any] | None) -> Any:
    return None if found is None else found["result"]
