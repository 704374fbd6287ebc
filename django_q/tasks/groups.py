"""Groups: the results of all tasks that share a label."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import Any, TypeVar

from django.db.models import QuerySet

from django_q.brokers import Broker
from django_q.logs import print_safely
from django_q.models import Task
from django_q.results import wait_for
from django_q.tasks.lookup import Cached, open_results, task_of, uses_cache

Found = TypeVar("Found")


def result_group(
    group_id: str,
    failures: bool = False,
    wait: float = 0,
    count: int | None = None,
    cached: Cached = None,
) -> QuerySet[Task, Any] | list[Any] | None:
    """The results of a group's tasks; None when there are none.

    `failures` adds the errors of those that failed. With `count`, it waits until so
    many tasks of the group have ended: `wait` milliseconds at most, or however long it
    takes when `wait` is 0.
    """
    if uses_cache(cached):
        return result_group_cached(group_id, failures, wait, count)
    results = _filled(lambda: Task.get_result_group(group_id, failures))
    return _wait_for_group(results, partial(count_group, group_id), wait, count)


def result_group_cached(
    group_id: str,
    failures: bool = False,
    wait: float = 0,
    count: int | None = None,
    broker: Broker | None = None,
) -> list[Any] | None:
    """`result_group` from the cache."""
    found = _find_cached(group_id, failures, wait, count, broker)
    return [task["result"] for task in found] if found else None


def fetch_group(
    group_id: str,
    failures: bool = True,
    wait: float = 0,
    count: int | None = None,
    cached: Cached = None,
) -> QuerySet[Task] | list[Task] | None:
    """The ended tasks of a group; None when there are none. As `result_group`."""
    if uses_cache(cached):
        return fetch_group_cached(group_id, failures, wait, count)
    tasks = _filled(lambda: Task.get_task_group(group_id, failures))
    return _wait_for_group(tasks, partial(count_group, group_id), wait, count)


def fetch_group_cached(
    group_id: str,
    failures: bool = True,
    wait: float = 0,
    count: int | None = None,
    broker: Broker | None = None,
) -> list[Task] | None:
    """`fetch_group` from the cache. The tasks are in no table."""
    found = _find_cached(group_id, failures, wait, count, broker)
    return [task_of(task) for task in found] if found else None


def count_group(
    group_id: str, failures: bool = False, cached: Cached = None
) -> int | None:
    """How many tasks of a group have ended, or how many of them failed."""
    if uses_cache(cached):
        return count_group_cached(group_id, failures)
    return Task.get_group_count(group_id, failures)


def count_group_cached(
    group_id: str, failures: bool = False, broker: Broker | None = None
) -> int | None:
    """`count_group` from the cache; None when there is no such group."""
    found = open_results(broker).find_group(group_id)
    if found is None:
        return None
    return sum(not task["success"] for task in found) if failures else len(found)


def delete_group(
    group_id: str, tasks: bool = False, cached: Cached = None
) -> int | tuple[int, dict[str, int]] | None:
    """Take the label off a group's tasks; with `tasks`, delete the tasks."""
    if uses_cache(cached):
        delete_group_cached(group_id)
        return None
    return Task.delete_group(group_id, tasks)


def delete_group_cached(group_id: str, broker: Broker | None = None) -> None:
    """Delete a group and its results from the cache."""
    open_results(broker).delete_group(group_id)


def _find_cached(
    group_id: str,
    failures: bool,
    wait: float,
    count: int | None,
    broker: Broker | None,
) -> list[dict[str, Any]] | None:
    store = open_results(broker)
    results = _filled(lambda: store.find_group(group_id, failures=failures))
    ended = partial(count_group_cached, group_id, broker=broker)
    return _wait_for_group(results, ended, wait, count)


def _filled(look: Callable[[], Found | None]) -> Callable[[], Found | None]:
    """The same look; finding nothing but an empty list is finding nothing."""
    return lambda: look() or None


def _check(count: Any) -> None:
    if not (count is None or isinstance(count, Integral)):
        message = f"count must be a whole number, not {print_safely(count, repr)}."
        raise TypeError(message)


def _wait_for_group(
    look: Callable[[], Found | None],
    ended: Callable[[], int | None],
    wait: float,
    count: int | None,
) -> Found | None:
    """What is there once enough have ended, or once the time is up."""
    _check(count)
    if not count:
        return wait_for(look, wait)
    # Without a limit it takes as long as it takes.
    wait_for(lambda: (ended() or 0) >= count or None, wait or -1)
    return look()
