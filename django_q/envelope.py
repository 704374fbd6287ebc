"""Envelope: what to run and with which options; to and from the signed package."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from time import time_ns
from typing import Any, Final

from django_q import clock, humanhash
from django_q.callables import name_of, takes_keyword
from django_q.exceptions import UnreadablePackage
from django_q.logs import print_safely
from django_q.options import Options
from django_q.signals import announce, pre_enqueue
from django_q.signing import Sealer, SignedPackage
from django_q.task_options import (
    FORGIVEN,
    check_options,
    is_function,
    is_usable,
    split_link,
    split_options,
)

FIXED_KEYS: Final = ("id", "name", "func", "args", "kwargs", "started")
"""Keys that every package has, also one made by an earlier release."""

INHERITED: Final = ("group", "cached", "sync")
"""What all links of a chain have in common; one that is off, unless a link says it."""

HANDED_ON: Final = ("stop_on_failure", "atomic")
"""What a link has from the one before it, unless it says something itself."""

RANDOM_UUID: Final = 0xF000_C000_0000_0000_0000, 0x4000_8000_0000_0000_0000
"""The bits that say that a UUID is random: where they are, and what they are."""

TICK: Final = 26
"""Ids of one tick begin alike: 2 to this power nanoseconds, a fifteenth of a second."""

TICKS: Final = 0xFF_FFFF
"""After so many ticks, 13 days, ids begin as before. They are three bytes of an id, since
the fourth, which makes the first word of a name together with them, has to be random.
"""

LINKS: Final = uuid.UUID("5a2f0c1e-7d0b-5c3a-9d5c-6f2c1f0f8f0e")
"""Namespace of the ids of links and of the parts of an iterable."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """One task to run. Never changes; `dataclasses.replace` makes the next one."""

    id: str
    name: str
    func: Callable[..., Any] | str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    started: datetime = field(default_factory=clock.now)
    """The moment of async_task, as rows and screens have always called it."""

    hook: Callable[..., Any] | str | None = None
    group: str | None = None
    cluster: str | None = None
    timeout: float | None = None
    save: bool | None = None
    sync: bool | None = None
    cached: bool | int | None = None
    ack_failure: bool | None = None
    chain: list[Any] | None = None
    stop_on_failure: bool | None = None
    iter_count: int | None = None
    iter_cached: bool | int | None = None
    iter_index: int | None = None
    """Which part of an iterable this is; its group is the iterable's id."""

    iter_hook: Callable[..., Any] | str | None = None
    iter_group: str | None = None
    max_attempts: int | None = None
    retry_delay: float | None = None
    retry_delay_max: float | None = None
    max_deliveries: int | None = None
    outbox: bool | None = None
    atomic: bool | None = None
    slot: str | None = None
    """The moment at which a schedule was due. Nothing else has the id of its task."""

    undecided_options: list[str] | None = None
    """Options that were keywords, while nobody knew whether the function takes them."""

    extra: dict[str, Any] = field(default_factory=dict)
    """Keys that receivers of pre_enqueue put into the dict."""

    @classmethod
    def from_call(
        cls,
        func: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Mapping[str, Any],
    ) -> Envelope:
        """The envelope of one call. `options` are TASK_OPTIONS and CALL_OPTIONS.

        Raises TypeError for one that is of the wrong kind, and for no function.

        `task_id`, a UUID or its 32 hexadecimal digits, names the task; queued twice
        under the same id it is queued once. Without it, a fresh one is drawn.
        """
        if not is_function(func):
            message = f"A task is a function or its dotted path, not {func!r}."
            raise TypeError(message)
        check_options(options)
        given_id = options.get("task_id")
        task_id = _digits(given_id) if given_id else new_id()
        name = options.get("task_name") or humanhash.humanize(task_id)
        given = {k: v for k, v in options.items() if k in OPTIONAL_KEYS}
        given |= {
            "id": task_id,
            "name": name,
            "func": func,
            "args": args,
            "kwargs": kwargs,
            "started": clock.now(),
            "extra": {},
        }
        return BLANK.amended(given)

    @classmethod
    def from_dict(
        cls, task: Mapping[str, Any], cluster: str | None = None, **facts: Any
    ) -> Envelope:
        """The envelope of a task dict, served by this cluster, with these facts about it;
        None: by none yet. Raises UnreadablePackage if the dict is no task.

        An impossible number counts as not given, and an impossible moment as now: they
        come from packages that were made by hand.
        """
        if not is_task(task):
            message = "A package holds no task: it lacks what every task has."
            raise UnreadablePackage(message)
        known, extra = {**BLANK.__dict__, **task}, facts
        if len(known) > len(BLANK.__dict__) or "extra" in task:
            # In the order of the dict: a set's differs from process to process.
            extra = {k: known.pop(k) for k in task if k not in KNOWN_KEYS} | facts
        if cluster is not None:
            known["cluster"] = cluster
        known["args"] = tuple(known["args"] or ())
        known["kwargs"] = dict(known["kwargs"] or {})
        known["started"] = clock.moment(known["started"])
        if not FORGIVEN.isdisjoint(task):
            _forgive(known)
        known["extra"] = extra
        return _envelope_of(known)

    @classmethod
    def open(cls, package: str | bytes) -> Envelope:
        """The envelope in a package; its signature is checked before it is unpickled.

        Raises UnreadablePackage, or whatever unpickling its contents raises.
        """
        return cls.from_dict(SignedPackage.loads(package))

    def seal(self) -> str:
        """The signed package. Raises PackageTooLarge, or what pickle raises."""
        return Sealer().dumps(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """The task dict of the wire and of the signals: fixed keys and given options."""
        task = {k: v for k, v in self.__dict__.items() if v is not None}
        if self.chain:
            # Earlier releases that go on with the chain ask for both of them.
            task = {"cached": False, "sync": False} | task
        extra: dict[str, Any] = task.pop("extra")
        return task | extra if extra else task

    def as_shown(self) -> dict[str, Any]:
        """The task dict as a worker shows it: it has taken the time limit out."""
        task = self.as_dict()
        task.pop("timeout", None)
        return task

    @property
    def func_name(self) -> str:
        """The function as rows and log lines call it."""
        # As it mostly is: each task asks several times.
        return self.func if isinstance(self.func, str) else name_of(self.func)

    @property
    def hook_name(self) -> str | None:
        """The hook as rows store it."""
        return self.hook if self.hook is None else hook_text(self.hook)

    def announced(self) -> Envelope:
        """The task as the receivers of pre_enqueue leave it.

        They may add keys and change values; what they raise is their veto.
        """
        if not pre_enqueue.receivers:
            return self
        task = self.as_dict()
        announce(pre_enqueue, task=task)
        return Envelope.from_dict(task)

    def with_defaults(self, options: Options) -> Envelope:
        """The task with the settings that travel with it, where the call says nothing."""
        settings: dict[str, Any] = {
            "cached": options.cached,
            "sync": options.sync,
            "ack_failure": options.ack_failures,
        }
        missing = {k: v for k, v in settings.items() if v and getattr(self, k) is None}
        return replace(self, **missing) if missing else self

    def next_link(self) -> Envelope | None:
        """The next task of the chain that this one leads; None after the last.

        Its id follows from this one's, so that queueing it again changes nothing.
        """
        if not self.chain:
            return None
        link, *rest = self.chain
        func, args, kwargs = split_link(link)
        options, kwargs = split_options(func, kwargs)
        common = {key: getattr(self, key) for key in INHERITED}
        common = {k: v for k, v in common.items() if v is not None}
        merged = common | options | {k: v for k, v in common.items() if v}
        merged["chain"] = rest or None
        for key in HANDED_ON:
            merged.setdefault(key, getattr(self, key))
        merged.setdefault("task_id", derived_id(self.id, f"link {len(rest)}"))
        return Envelope.from_call(func, args, kwargs, merged)

    def decided_for(self, func: Callable[..., Any]) -> Envelope:
        """The same task, once its function is at hand: it gets the keywords it takes."""
        own = [k for k in self.undecided_options or () if takes_keyword(func, k)]
        kwargs = self.kwargs | {key: getattr(self, key) for key in own}
        none: dict[str, Any] = dict.fromkeys(own)
        return replace(self, kwargs=kwargs, undecided_options=None, **none)

    def served_by(self, cluster: str, **facts: Any) -> Envelope:
        """The same task, as the cluster that runs it shows it, with these facts."""
        return self.amended({"cluster": cluster, "extra": self.extra | facts})

    def called_with(self, args: tuple[Any, ...], name: str | None = None) -> Envelope:
        """Another task like this one, with the facts of a new call."""
        copies = {"kwargs": dict(self.kwargs), "extra": dict(self.extra)}
        return self.amended(facts_of_call(args, name) | copies)

    def amended(self, changes: dict[str, Any]) -> Envelope:
        """The same task, but for these fields."""
        return _envelope_of(self.__dict__ | changes)


OPTIONAL_KEYS: Final = frozenset(
    f.name for f in fields(Envelope) if f.name not in (*FIXED_KEYS, "extra")
)
BLANK: Final = Envelope(id="", name="", func="", started=datetime.min)
REQUIRED: Final = frozenset(FIXED_KEYS)
KNOWN_KEYS: Final = OPTIONAL_KEYS.union(FIXED_KEYS)


def _envelope_of(values: dict[str, Any]) -> Envelope:
    """As Envelope(**values) makes it of all its fields, in a twentieth of the time: each
    task comes by here.
    """
    envelope = object.__new__(Envelope)
    object.__setattr__(envelope, "__dict__", values)
    return envelope


def _forgive(known: dict[str, Any]) -> None:
    """Options that are nothing they could be count as not given."""
    for key in known.keys() & FORGIVEN:
        if not is_usable(key, known[key]):
            known[key] = None


def is_task(thing: object) -> bool:
    """Whether this is a task dict: a package may hold anything else as well."""
    # A dict first: to ask for a Mapping takes three calls more.
    return isinstance(thing, (dict, Mapping)) and thing.keys() >= REQUIRED


def facts_of_call(args: tuple[Any, ...], name: str | None = None) -> dict[str, Any]:
    """What tells one of many calls that are alike from the others: its arguments, an id of
    its own, this name or that which follows from its id, and when it was queued.
    """
    task_id = new_id()
    name = name or humanhash.humanize(task_id)
    return {"id": task_id, "name": name, "args": args, "started": clock.now()}


def new_id() -> str:
    """The digits of a UUID, random but for the first six: those say when it was made, so
    that tasks of one moment are neighbours in an index. The object is not needed.
    """
    tick = time_ns() >> TICK & TICKS
    bits = int.from_bytes(os.urandom(13)) & ~RANDOM_UUID[0] | RANDOM_UUID[1]
    return f"{tick:06x}{bits:026x}"


def derived_id(task_id: str, what: str) -> str:
    """The id of a task that follows from another one: always the same."""
    return uuid.uuid5(LINKS, f"{task_id} {what}").hex


def hook_text(hook: Callable[..., Any] | str) -> str:
    """A hook as text that can be found again: its dotted path where it has one."""
    if isinstance(hook, str):
        return hook
    qualified = getattr(hook, "__qualname__", "")
    if qualified and "<" not in qualified:
        return f"{hook.__module__}.{qualified}"
    return print_safely(hook, repr)


def _digits(task_id: uuid.UUID | str) -> str:
    """Raises ValueError for what is no UUID."""
    return uuid.UUID(str(task_id)).hex
