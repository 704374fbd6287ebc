"""Iterables: one function for each member of a list, and one result for all."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from django_q import clock
from django_q.brokers import Broker
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.exceptions import PackageTooLarge
from django_q.execution import Runner
from django_q.logs import logger
from django_q.models import Task
from django_q.outcome import Outcome
from django_q.results import part_id
from django_q.task_options import check_options, split_options
from django_q.tasks.enqueue import call_async_task, keep_broker
from django_q.tasks.inline import settle
from django_q.tasks.lookup import Cached, fetch, open_results, result

Function = Callable[..., Any]


def async_iter(func: Function | str, args_iter: Sequence[Any], **kwargs: Any) -> str:
    """Call a function for each member of a list; a tuple is splatted into arguments.

    Gives the id under which the list of all results will be found, in the order of the
    members; failed ones contribute the text of their error. Needs a cache that all
    processes share. With `q_options`, other keywords are ignored.
    """
    count = _length_of(args_iter)
    chosen = kwargs.get("q_options")
    given = kwargs if chosen is None else {"q_options": chosen}
    options, keywords = split_options(func, given)
    check_options(options)
    iter_id = uuid.UUID(str(options.pop("task_id", None) or uuid.uuid4())).hex
    whole = {
        "hook": options.pop("hook", None),
        "group": options.pop("group", None),
        "cached": options.pop("cached", None),
    }
    if whole["cached"] is None:
        whole["cached"] = get_options().cached
    if not count:
        own = {"task_id": iter_id, "sync": True}
        _conclude_empty(Envelope.from_call(func, (), keywords, whole | own))
        return iter_id
    _keep_arguments(iter_id, args_iter, options)
    shared = options | {f"iter_{key}": value for key, value in whole.items()}
    shared |= {"group": iter_id, "cached": True, "iter_count": count}
    for index, member in enumerate(args_iter):
        args = member if isinstance(member, tuple) else (member,)
        own = {"task_id": part_id(iter_id, index), "iter_index": index}
        call_async_task(func, *args, q_options=shared | own, **keywords)
    return iter_id


def _length_of(args_iter: Any) -> int:
    try:
        return len(args_iter)
    except TypeError:
        kind = type(args_iter).__name__
        message = f"An iterable needs a list, not this {kind}: list(…) makes one."
        raise TypeError(message) from None


def _keep_arguments(
    iter_id: str, args_iter: Sequence[Any], options: dict[str, Any]
) -> None:
    """What was given, for the row of the whole; too much is put together at the end."""
    broker = options.get("broker") or keep_broker(options.get("cluster"))
    store = open_results(broker)
    store.warn_of_loss(len(args_iter))
    try:
        store.keep_arguments(iter_id, args_iter)
    except PackageTooLarge as error:
        logger.debug("the arguments of iterable %s are not kept: %s", iter_id, error)


def _conclude_empty(envelope: Envelope) -> None:
    """Nothing to do: the result is there at once."""
    options = get_options()
    outcome = Outcome(envelope=envelope, success=True, result=[], stopped=clock.now())
    with closing(Runner(options, owns_process=False)) as runner:
        settle(runner, outcome, options, keep_broker(envelope.cluster).list_key)


class Iter:
    """An iterable as an object: append to it, run it, ask for its result."""

    def __init__(
        self,
        func: Function | str | None = None,
        args: list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        cached: Cached = None,
        sync: bool | None = None,
        broker: Broker | None = None,
    ) -> None:
        self.func = func
        self.args = args or []
        self.kwargs = kwargs or {}
        self.id = ""
        self.broker = broker
        self.cached = cached
        self.sync = sync
        self.started = False

    def append(self, *args: Any) -> int:
        """Add arguments for one more call, and give the new length."""
        self.args.append(args)
        self.started = False
        return self.length()

    def run(self) -> str:
        """Queue all calls, and give the id of their common result."""
        if self.func is None:
            message = "An Iter needs a function to run."
            raise TypeError(message)
        options = {"cached": self.cached, "sync": self.sync, "broker": self.broker}
        given = {key: value for key, value in options.items() if value is not None}
        keywords = dict(self.kwargs)
        if "q_options" in keywords:
            keywords["q_options"] = keywords["q_options"] | given
        else:
            keywords |= given
        self.id = async_iter(self.func, self.args, **keywords)
        self.started = True
        return self.id

    def result(self, wait: float = 0) -> Any:
        """The list of all results; None before the last one is there."""
        return result(self.id, wait, self.cached) if self.started else None

    def fetch(self, wait: float = 0) -> Task | None:
        """All calls as one task; None before the last one has ended."""
        return fetch(self.id, wait, self.cached) if self.started else None

    def length(self) -> int:
        """How many calls it makes."""
        return len(self.args)
