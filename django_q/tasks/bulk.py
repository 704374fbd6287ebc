"""Bulk: one function, many calls, sent in loads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby
from operator import itemgetter
from types import FunctionType, NoneType
from typing import Any, Final, cast

from asgiref.sync import sync_to_async
from django.conf import settings

from django_q.brokers import Consignment, streams
from django_q.envelope import Envelope, facts_of_call
from django_q.logs import clean, print_safely
from django_q.signals import pre_enqueue
from django_q.signing import Sealer
from django_q.task_options import split_options
from django_q.tasks.advice import warn_of_main
from django_q.tasks.enqueue import (
    Route,
    Sender,
    check,
    dispatch,
    outside_loop,
    prepare,
    refuse,
    seal,
)

OF_ONE_TASK: Final = frozenset({"task_id", "slot", "iter_index"})
"""Options that no two tasks have in common."""

LISTS: Final = frozenset({list, tuple})
PLAIN: Final = frozenset({bool, bytes, float, FunctionType, int, NoneType, str})
"""Types of which nobody's code says how they are pickled."""


def async_bulk(
    func: Callable[..., Any] | str, args_iter: Iterable[Any], **kwargs: Any
) -> list[str]:
    """Queue a function once for each member of an iterable, and give the tasks' ids.

    Each member is a tuple or list, the positional arguments of one call. Keywords are
    those of async_task, and all calls have them in common. Tasks are sent in loads of up
    to a thousand as the iterable gives them, so it may be a generator of millions.

    A longer list or tuple of calls with plain arguments (text, numbers, None, or lists and
    dicts of them) is sent on while Redis or PostgreSQL still queues what came before, so
    this is quicker than a generator.

    What is raised for one member leaves those of the loads before it queued, and those of
    its own load not: a note on the error says how many were. (A broker that fails may have
    taken a part of a load, unless it is the database.) Inside a transaction, all of them
    come and go with that.

    Raises TypeError for a member that is neither tuple nor list, and for a `task_id`;
    else what async_task raises.
    """
    return outside_loop(partial(_async_bulk, func, args_iter, kwargs))


async def aasync_bulk(
    func: Callable[..., Any] | str, args_iter: Iterable[Any], **kwargs: Any
) -> list[str]:
    """async_bulk for coroutines."""
    return await sync_to_async(async_bulk)(func, args_iter, **kwargs)


def _async_bulk(
    func: Callable[..., Any] | str, args_iter: Iterable[Any], kwargs: dict[str, Any]
) -> list[str]:
    options, keywords = split_options(func, kwargs)
    for option in sorted(options.keys() & OF_ONE_TASK):
        message = f"{option!r} is for one task: async_bulk queues many."
        raise TypeError(message)
    model = prepare(func, (), keywords, options)
    if not model.sync:
        warn_of_main(model)
    sent = _send_all(model, args_iter, kwargs, options)
    ids: list[str] = []
    try:
        for some in sent:
            ids += some
    except Exception as error:
        error.add_note(f"Tasks that async_bulk had queued before: {len(ids):,}")
        raise
    return ids


def _members(args_iter: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """The arguments of each call."""
    for index, args in enumerate(args_iter):
        if not isinstance(args, tuple | list):
            shown = clean(print_safely(args, repr), 80)
            message = (
                f"Member {index} must be a tuple or list of arguments, not {shown}."
                " For a single one, write (argument,)."
            )
            raise TypeError(message)
        yield tuple(args)


def _send_all(
    model: Envelope,
    args_iter: Any,
    given: dict[str, Any],
    options: dict[str, Any],
) -> Iterator[list[str]]:
    """Send a task like the model for each member, and give the ids of those that were."""
    members, name = _members(args_iter), options.get("task_name")
    broker = options.get("broker")
    first = next(members, None)
    if first is None:
        return
    members = chain([first], members)
    if pre_enqueue.receivers or model.sync or settings.DEBUG:
        yield from _send_each(_calls(model, members, name, given), broker)
        return
    # All are alike but for their arguments, which nobody looks at.
    check(model, given)
    sender = Sender(Route.of(model), broker)
    new = _alike(sender, model, members, name)
    if _runs_nothing(model, args_iter) and len(args_iter) > streams.PORTION:
        yield from map(_ids, sender.stream(new))
    else:
        yield from map(_ids, sender.send_all(new))


def _alike(
    sender: Sender,
    model: Envelope,
    members: Iterable[tuple[Any, ...]],
    name: str | None,
) -> Iterator[Consignment]:
    """Tasks made of the dict that they have in common, without an envelope for each."""
    common, sealer = model.as_dict(), Sealer()
    for args in members:
        task = common | facts_of_call(args, name)
        try:
            package = sealer.dumps(task)
        except Exception as error:  # noqa: BLE001 - pickling calls everybody's code
            refuse(Envelope.from_dict(task), error)
        yield sender.consign(package, task["id"])


def _calls(
    model: Envelope,
    members: Iterable[tuple[Any, ...]],
    name: str | None,
    given: dict[str, Any],
) -> Iterator[tuple[Route, Envelope]]:
    """Tasks as the receivers of pre_enqueue leave them, and how each gets to a worker."""
    for args in members:
        envelope = model.called_with(args, name).announced()
        check(envelope, given)
        yield Route.of(envelope), envelope


def _send_each(
    calls: Iterator[tuple[Route, Envelope]], broker: Any
) -> Iterator[list[str]]:
    """Send them on, or run them here and now."""
    for route, some in groupby(calls, key=itemgetter(0)):
        alike = map(itemgetter(1), some)
        if route.sync:
            for envelope in alike:
                dispatch(envelope, broker)
                yield [envelope.id]
            continue
        sender = Sender(route, broker)
        sealed = (sender.consign(seal(each), each.id) for each in alike)
        yield from map(_ids, sender.send_all(sealed))


def _ids(sent: Sequence[Consignment]) -> list[str]:
    return [str(each.task_id) for each in sent]


def _runs_nothing(model: Envelope, args_iter: Any) -> bool:
    """Whether nobody's code runs while the members are read and the tasks are pickled."""
    if type(args_iter) not in LISTS or not LISTS.issuperset(map(type, args_iter)):
        return False
    shared = model.as_dict() | {"started": None}
    return all(map(_is_plain, [*args_iter, list(shared.values())]))


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether they are plain, or lists and dicts of what is."""
    return PLAIN.issuperset(map(type, values)) or all(
        PLAIN.issuperset(map(type, _parts(value))) for value in values
    )


def _parts(value: Any) -> Iterable[Any]:
    kind = type(value)
    if kind in LISTS:
        return cast("Iterable[Any]", value)
    return [*value, *value.values()] if kind is dict else [value]
