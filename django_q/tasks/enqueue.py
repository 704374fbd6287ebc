"""Enqueue: async_task, and dispatch, which puts a task on a broker or runs it at once."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from logging import DEBUG, INFO
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_q import outbox
from django_q.allowed import check_call
from django_q.brokers import Broker, Consignment, get_broker, verbs
from django_q.brokers.loads import loads
from django_q.brokers.streams import enqueue_all
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.exceptions import DjangoQError, PackageTooLarge
from django_q.logs import clean, logger
from django_q.options import Options
from django_q.signing import Sealer
from django_q.task_options import split_options
from django_q.tasks.advice import (
    IN_COROUTINE,
    Adviser,
    explain_unsendable,
    warn_of_main,
)
from django_q.tasks.atomicity import check_place
from django_q.tasks.inline import run_inline

Value = TypeVar("Value")
Send = Callable[[], None]
"""What puts packages on their queue."""


class Kept(threading.local):
    """The brokers of this thread, one for each queue; made anew after a fork, and when
    the settings change. Those of the parent process are left alone, others are closed.
    And what seals its packages, made anew when settings or key change.
    """

    def __init__(self) -> None:
        self._brokers: dict[str | None, Broker] = {}
        self._process = os.getpid()
        self._options: Options | None = None
        self._sealer: Sealer | None = None

    def broker(self, queue: str | None = None) -> Broker:
        """The broker of a queue; None: of this process's own."""
        options, process = get_options(), os.getpid()
        if process != self._process:
            self._brokers = {}
        elif options is not self._options:
            self._close()
        self._options, self._process = options, process
        if queue not in self._brokers:
            self._brokers[queue] = get_broker(queue)
        return self._brokers[queue]

    def sealer(self) -> Sealer:
        """For packages of this moment."""
        if self._sealer is None or not self._sealer.is_current:
            self._sealer = Sealer()
        return self._sealer

    def _close(self) -> None:
        for broker in self._brokers.values():
            broker.close()
        self._brokers = {}


LONGEST_CHAIN: Final = 10_000

_kept: Final = Kept()
_adviser: Final = Adviser()
_courier: Final = outbox.Courier()
_afterwards: Final = contextvars.ContextVar[list[Send] | None](
    "afterwards", default=None
)


def async_task(func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> str:
    """Queue a function to be called with these arguments, and give the task's id.

    Keywords that are options of the task (`hook`, `group`, `timeout`, `max_attempts`,
    `cluster`, …) do not reach the function; `q_options` may hold them as well. With the
    database as broker the task becomes visible when the surrounding transaction
    commits, and vanishes if it is rolled back; other brokers are sent it then, unless
    the setting `send_on_commit` is off. With `outbox=True`, or the setting, a table of
    the database has it until they do.

    Raises TypeError for an option of the wrong kind, ValueError for a chain of more than
    LONGEST_CHAIN tasks, NotAtomic where the queue is not in the database of the results,
    TaskNotSerializable, TaskNotImportable, PackageTooLarge, and what the broker raises. In sync mode the
    function is called at once, and what it raises is raised here after the failure was
    saved.
    """
    return outside_loop(partial(_async_task, func, args, kwargs))


async def aasync_task(func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> str:
    """async_task for coroutines."""
    return await sync_to_async(call_async_task)(func, *args, **kwargs)


def call_async_task(func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> str:
    """async_task as the door has it now: tests replace it there."""
    door = importlib.import_module("django_q.tasks")
    task_id: str = door.async_task(func, *args, **kwargs)
    return task_id


def keep_broker(queue: str | None = None) -> Broker:
    """The broker that this thread keeps for a queue."""
    return _kept.broker(queue)


def _async_task(
    func: Callable[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    options, keywords = split_options(func, kwargs)
    envelope = prepare(func, args, keywords, options).announced()
    check(envelope, kwargs)
    dispatch(envelope, options.get("broker"))
    if "task_name" not in kwargs and isinstance(kwargs.get("q_options"), dict):
        # Callers that use one dictionary for many tasks rely on it: one has the name.
        kwargs["q_options"].pop("task_name", None)
    return envelope.id


def prepare(
    func: Callable[..., Any] | str,
    args: tuple[Any, ...],
    keywords: dict[str, Any],
    options: dict[str, Any],
) -> Envelope:
    """The task of a call, with the settings that travel with it."""
    if options.get("outbox") and options.get("broker") is not None:
        message = "Only the brokers of the settings have an outbox, not 'broker'."
        raise TypeError(message)
    envelope = Envelope.from_call(func, args, keywords, options)
    return envelope.with_defaults(get_options())


def check(envelope: Envelope, given: Mapping[str, Any]) -> None:
    """Refuse what can't run here; `given` are the keywords of the caller."""
    check_call(envelope.func)
    if envelope.hook:
        check_call(envelope.hook)
    if envelope.chain and len(envelope.chain) >= LONGEST_CHAIN:
        # Each link carries all that follow it: the work grows with the square.
        length = len(envelope.chain) + 1
        message = f"A chain has at most {LONGEST_CHAIN:,} tasks, not {length:,}."
        raise ValueError(message)
    if settings.DEBUG:
        _adviser.consider(envelope, given)


# -- dispatch


class Route(NamedTuple):
    """What of a task says how it gets to a worker: those that agree can go together."""

    cluster: str | None
    sync: bool | None
    outbox: bool | None
    atomic: bool
    is_slot: bool

    @classmethod
    def of(cls, envelope: Envelope) -> Route:
        is_atomic = bool(envelope.atomic)
        if envelope.undecided_options and "atomic" in envelope.undecided_options:
            is_atomic = False
        is_slot = envelope.slot is not None
        return cls(envelope.cluster, envelope.sync, envelope.outbox, is_atomic, is_slot)


class Sender:
    """Puts tasks of one route on their queue: at once, after the commit, or by way of
    the outbox.
    """

    def __init__(self, route: Route, broker: Broker | None = None) -> None:
        self._broker = broker or keep_broker(route.cluster)
        self._once = route.is_slot
        if route.atomic:
            check_place(self._broker)
        self._has_outbox = broker is None and _has_outbox(route.outbox, self._broker)
        self._waits = self._broker.database is None and _waits_for_commit()
        self._queue = self._broker.short_key
        if self._has_outbox:
            self._queue = route.cluster or get_options().queue

    def consign(self, package: str, task_id: str) -> Consignment:
        """A task that is sealed, ready to be sent."""
        return Consignment(package, self._queue, task_id)

    def send(self, new: Sequence[Consignment], name: str = "") -> None:
        """Send them all; `name` is that of a single one."""
        send = partial(_send, self._broker, new, name, once=self._once)
        if self._has_outbox:
            _post(new, send, once=self._once)
        elif self._waits:
            send_after_commit(send)
        else:
            send()

    def send_all(self, new: Iterable[Consignment]) -> Iterator[Sequence[Consignment]]:
        """Send them as they come, and give those that were sent."""
        for load in loads(new):
            self.send(load)
            yield load

    def stream(self, new: Iterable[Consignment]) -> Iterator[Sequence[Consignment]]:
        """The same for those who ask nothing of the broker while they make them: it may
        still have to queue those before.
        """
        if self._has_outbox or (self._waits and _transactions()):
            yield from self.send_all(new)
            return
        for load in enqueue_all(self._broker, new):
            where = clean(self._broker.list_key)
            logger.info("Enqueued [%s] %s tasks", where, len(load))
            yield load


def dispatch(envelope: Envelope, broker: Broker | None = None) -> None:
    """Run the task here and now if it says so, else put it on a broker."""
    if envelope.sync:
        # Only cached results ask for the broker: sync mode works without one.
        list_key = _list_key(envelope, broker) if envelope.cached else None
        run_inline(seal(envelope), get_options(), list_key)
        return
    warn_of_main(envelope)
    sender = Sender(Route.of(envelope), broker)
    sender.send([sender.consign(seal(envelope), envelope.id)], envelope.name)


def _has_outbox(own: bool | None, broker: Broker) -> bool:
    """Not where the queue itself is in the database of the outbox."""
    wanted = get_options().outbox if own is None else own
    return (
        bool(wanted) and broker.database != outbox.write_alias() and outbox.is_there()
    )


def _waits_for_commit() -> bool:
    return get_options().send_on_commit and _afterwards.get() is None


def _post(new: Sequence[Consignment], send: Send, *, once: bool) -> None:
    """Write packages into the outbox, and send them after the commit.

    Inside a transaction of other databases only, it can't be undone with that: then
    writing waits as well.
    """
    deliver: Send = partial(_courier.deliver, new, send)
    if _is_in_transaction(connections[outbox.write_alias()]):
        outbox.write(*new, once=once)
    else:
        deliver = partial(_write_and_deliver, new, deliver, once=once)
    afterwards = _afterwards.get()
    if afterwards is None:
        send_after_commit(deliver)
    else:
        afterwards.append(deliver)


def _write_and_deliver(
    new: Sequence[Consignment], deliver: Send, *, once: bool
) -> None:
    outbox.write(*new, once=once)
    deliver()


def seal(envelope: Envelope) -> str:
    """The package. Raises PackageTooLarge, or a TaskError that names the culprit."""
    try:
        return _kept.sealer().dumps(envelope.as_dict())
    except Exception as error:  # noqa: BLE001 - pickling calls everybody's code
        refuse(envelope, error)


def refuse(envelope: Envelope, error: Exception) -> NoReturn:
    """Raise why it can't be sealed, in words that name it."""
    if isinstance(error, PackageTooLarge):
        raise PackageTooLarge(f"{envelope.func_name}: {error}", hint=" ") from None
    if isinstance(error, DjangoQError):
        raise error
    raise explain_unsendable(envelope, error) from error


@contextmanager
def sending_at_once() -> Iterator[list[Send]]:
    """Send also inside a transaction. For callers who do it again, under the same id,
    unless the transaction commits: so they send once too often rather than never.

    What goes through the outbox is part of the transaction instead: the list is what to
    call after it.
    """
    afterwards: list[Send] = []
    before = _afterwards.set(afterwards)
    try:
        yield afterwards
    finally:
        _afterwards.reset(before)


def send_after_commit(send: Send) -> None:
    """Send now, or when all the transactions that are open in this thread have committed:
    never, if one of them is rolled back.

    Else a worker might look for rows that it can't see yet, or that never come.
    """
    opened = _transactions()
    if not opened:
        send()
        return
    # A transaction that is rolled back never leaves this set, so nothing is sent.
    left = {connection.alias for connection in opened}
    for connection in opened:
        connection.on_commit(partial(_note_commit, connection.alias, left, send))


def _note_commit(alias: str, left: set[str], send: Send) -> None:
    left.discard(alias)
    if not left:
        send()


def _send(broker: Broker, new: Sequence[Consignment], name: str, *, once: bool) -> None:
    if len(new) == 1:
        what = verbs.enqueue(broker, new[0].package, new[0].task_id, once=once)
    else:
        broker.enqueue_many(new)
        what = f"{len(new)} tasks"
    if logger.isEnabledFor(INFO):
        logger.info("Enqueued [%s] %s", clean(broker.list_key), clean(what))
    if name and logger.isEnabledFor(DEBUG):
        logger.debug("Pushed (%s, %s)", clean(name), new[0].task_id)


def _list_key(envelope: Envelope, broker: Broker | None) -> str:
    return (broker or keep_broker(envelope.cluster)).list_key


def _transactions() -> list[BaseDatabaseWrapper]:
    """The connections of this thread that are inside one."""
    return list(filter(_is_in_transaction, connections.all(initialized_only=True)))


def _is_in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Inside `atomic()`; the blocks that Django's TestCase opens do not count."""
    blocks = connection.atomic_blocks
    return any(not getattr(block, "_from_testcase", False) for block in blocks)


# -- called from a coroutine


def outside_loop(call: Callable[[], Value]) -> Value:
    """Call it here, or in a thread: Django's database connections refuse to work in one
    that runs a loop.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    if settings.DEBUG:
        _adviser.say(IN_COROUTINE)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(context.run, _call_and_disconnect, call).result()


def _call_and_disconnect(call: Callable[[], Value]) -> Value:
    try:
        return call()
    finally:
        connections.close_all()
