"""AsyncTask: a task as an object: set it up, run it, ask for its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_q.conf import get_options
from django_q.models import Task
from django_q.tasks.enqueue import call_async_task
from django_q.tasks.groups import fetch_group, result_group
from django_q.tasks.lookup import fetch, result


class TaskOption:
    """An option of an AsyncTask as its attribute.

    It is read from and written to the keywords, or the `q_options` among them. Writing
    one means that the task has to run again.
    """

    def __init__(self, default: Callable[[], Any] = lambda: None) -> None:
        self._default = default
        self._name = ""

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: AsyncTask | None, _owner: type) -> Any:
        if task is None:
            return self
        given = task.options.get(self._name)
        return self._default() if given is None else given

    def __set__(self, task: AsyncTask, value: Any) -> None:
        task.options[self._name] = value
        task.started = False


class AsyncTask:
    """A call of `async_task` that can be changed, run, and run again."""

    broker = TaskOption()
    sync = TaskOption(lambda: get_options().sync)
    save = TaskOption(lambda: get_options().keeps_successes)
    hook = TaskOption()
    group = TaskOption()
    cached = TaskOption(lambda: get_options().cached)
    atomic = TaskOption(lambda: get_options().atomic)

    def __init__(
        self, func: Callable[..., Any] | str, *args: Any, **kwargs: Any
    ) -> None:
        self.id = ""
        self.started = False
        self.func = func
        self.args = args
        self.kwargs = kwargs

    @property
    def options(self) -> dict[str, Any]:
        """Where the options are: the keywords, or the `q_options` among them."""
        chosen: dict[str, Any] | None = self.kwargs.get("q_options")
        return self.kwargs if chosen is None else chosen

    def run(self) -> str:
        """Queue the task, and give its id."""
        self.id = call_async_task(self.func, *self.args, **self.kwargs)
        self.started = True
        return self.id

    def result(self, wait: float = 0) -> Any:
        """What it returned, or the text of its error; None before it has ended."""
        return result(self.id, wait, self.cached) if self.started else None

    def fetch(self, wait: float = 0) -> Task | None:
        """The ended task; None before that."""
        return fetch(self.id, wait, self.cached) if self.started else None

    def result_group(
        self, failures: bool = False, wait: float = 0, count: int | None = None
    ) -> Any:
        """The results of its group; None without a group, or before it runs."""
        if not (self.started and self.group):
            return None
        return result_group(self.group, failures, wait, count, self.cached)

    def fetch_group(
        self, failures: bool = True, wait: float = 0, count: int | None = None
    ) -> Any:
        """The ended tasks of its group; None without a group, or before it runs."""
        if not (self.started and self.group):
            return None
        return fetch_group(self.group, failures, wait, count, self.cached)
