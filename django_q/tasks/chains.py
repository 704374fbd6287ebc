"""Chains: tasks of which each begins when the one before has succeeded."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django_q.brokers import Broker
from django_q.results import wait_for
from django_q.task_options import check_options, split_link, split_options
from django_q.tasks.enqueue import call_async_task
from django_q.tasks.groups import count_group, delete_group, fetch_group, result_group
from django_q.tasks.lookup import Cached


def async_chain(  # noqa: PLR0913 - what all members have in common
    chain: Sequence[Any],
    group: str | None = None,
    cached: Cached = None,
    sync: bool | None = None,
    broker: Broker | None = None,
    *,
    stop_on_failure: bool | None = None,
    atomic: bool | None = None,
) -> str:
    """Queue a chain and give the group of its tasks.

    Its members are functions, or tuples of a function, a tuple of arguments and a dict
    of keywords. A member that fails ends the chain, unless `stop_on_failure` is False.
    `atomic` is the option of each member that has none of its own. Raises TypeError for
    what is no chain, ValueError for an empty one.
    """
    is_one = isinstance(chain, str) or not isinstance(chain, Iterable)
    check_options({"chain": chain if is_one else list(chain)})
    if not chain:
        message = "A chain needs at least one task."
        raise ValueError(message)
    group = group or uuid.uuid4().hex
    first, *rest = list(chain)
    func, args, keywords = split_link(first)
    options = {
        "chain": rest or None,
        "group": group,
        "cached": cached,
        "sync": sync,
        "broker": broker,
    }
    given = {key: value for key, value in options.items() if value is not None}
    chosen = dict(keywords.get("q_options") or {})
    if "q_options" in keywords:
        chosen |= given
    else:
        keywords |= given
    own = split_options(func, keywords)[0]
    for name, value in (("stop_on_failure", stop_on_failure), ("atomic", atomic)):
        if value is not None and name not in own:
            # As a keyword it might be the function's.
            chosen[name] = value
    if chosen:
        keywords["q_options"] = chosen
    call_async_task(func, *args, **keywords)
    return group


class Chain:
    """A chain as an object: append to it, run it, ask for its results."""

    def __init__(  # noqa: PLR0913 - what all members have in common
        self,
        chain: list[Any] | None = None,
        group: str | None = None,
        cached: Cached = None,
        sync: bool | None = None,
        broker: Broker | None = None,
        *,
        stop_on_failure: bool | None = None,
        atomic: bool | None = None,
    ) -> None:
        self.chain = chain or []
        self.group = group or uuid.uuid4().hex
        self.cached = cached
        self.sync = sync
        self.broker = broker
        self.stop_on_failure = stop_on_failure
        self.atomic = atomic
        self.started = False

    def append(self, func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> int:
        """Add a task and give the new length. A chain that ran has to run again."""
        self.chain.append((func, args, kwargs))
        if self.started:
            delete_group(self.group, cached=self.cached)
            self.started = False
        return self.length()

    def run(self) -> str:
        """Queue the chain, and give the group of its tasks."""
        self.group = async_chain(
            self.chain,
            self.group,
            self.cached,
            self.sync,
            self.broker,
            stop_on_failure=self.stop_on_failure,
            atomic=self.atomic,
        )
        self.started = True
        return self.group

    def result(self, wait: float = 0) -> Any:
        """The results of its tasks, once it has ended or `wait` milliseconds are over.

        0 waits however long it takes.
        """
        self._wait(wait)
        return result_group(self.group, cached=self.cached) if self.started else None

    def fetch(self, failures: bool = True, wait: float = 0) -> Any:
        """Its ended tasks, once it has ended or `wait` milliseconds are over; as `result`."""
        self._wait(wait)
        if not self.started:
            return None
        return fetch_group(self.group, failures, cached=self.cached)

    def current(self) -> int | None:
        """How many of its tasks have ended; None before it runs."""
        return count_group(self.group, cached=self.cached) if self.started else None

    def length(self) -> int:
        """How many tasks it has."""
        return len(self.chain)

    def _wait(self, wait: float) -> None:
        if self.started:
            wait_for(lambda: self._has_ended() or None, wait or -1)

    def _has_ended(self) -> bool:
        if (self.current() or 0) >= self.length():
            return True
        failed = count_group(self.group, failures=True, cached=self.cached)
        return bool(failed) and self.stop_on_failure is not False
