"""Verbs: which arguments a broker's verbs take, and which of them belong together.

Brokers that were written for an earlier release know less than ours: `enqueue` takes
the package alone, `dequeue` nothing at all, and there are no leases.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from django_q.callables import takes_keyword

OF_MANY: Final = (
    ("enqueue", "enqueue_many"),
    ("enqueue_many", "stream_opener"),
    ("acknowledge", "acknowledge_many"),
)
"""A verb, and the one that does the same for many."""

OF_LEASES: Final = (
    "acknowledge_many",
    "enlist",
    "renew",
    "held",
    "redeliver",
    "mark_started",
    "release",
    "rescue",
    "rescue_from",
    "news_fd",
    "has_news",
    "may_miss",
    "pulse",
    "next_due",
)
"""What works only on packages that our own kind of `dequeue` handed out."""


def enqueue(
    broker: Any,
    package: str,
    task_id: str | None,
    delay: float = 0,
    priority: int = 0,
    *,
    once: bool = False,
) -> Any:
    """Call a broker's `enqueue` with as much as it knows, and give what it gives."""
    verb = broker.enqueue
    func = getattr(verb, "__func__", verb)
    options: dict[str, Any] = {}
    if _names_id(func) or (broker.supports_ids and _takes(func, "task_id")):
        options["task_id"] = task_id
    if once and broker.supports_once and _takes(func, "once"):
        options["once"] = True
    if delay and broker.supports_delay:
        options["delay"] = delay
    if priority and broker.supports_priority:
        options["priority"] = priority
    return verb(package, **options)


@lru_cache(maxsize=64)
def _names_id(enqueue: Callable[..., Any]) -> bool:
    """Whether it has a use for the id, be it only to name the task in an error."""
    try:
        return "task_id" in inspect.signature(enqueue).parameters
    except (TypeError, ValueError):
        return False


@lru_cache(maxsize=64)
def _takes(enqueue: Callable[..., Any], keyword: str) -> bool:
    """Remembered: each task that is queued asks."""
    return takes_keyword(enqueue, keyword)


def fit(broker: Any, base: type) -> None:
    """Give a broker class verbs that fit those which it has replaced.

    Who replaces the verb for one package wants it for each: the verb for many calls it
    again. Who replaces `dequeue` by one that can't be told how many are wanted has
    receipts and a time limit of its own: leases are off, and so is their renewal.
    """
    for one, many in OF_MANY:
        if _is_newer(broker, one, many):
            setattr(broker, many, vars(base)[many])
    if takes_keyword(broker.dequeue, "count"):
        return
    broker.supports_leases = broker.supports_renewal = False
    for verb in OF_LEASES:
        if _is_newer(broker, "dequeue", verb):
            setattr(broker, verb, vars(base)[verb])


def _is_newer(broker: type, verb: str, other: str) -> bool:
    """Whether a subclass of the class with the other verb has replaced this one."""
    return _depth(broker, verb) < _depth(broker, other)


def _depth(broker: type, verb: str) -> int:
    return next(n for n, each in enumerate(broker.__mro__) if verb in vars(each))
