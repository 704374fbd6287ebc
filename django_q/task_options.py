"""Options of one task: which keywords of async_task they are, and what each may be."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any, Final, NamedTuple

from django_q.callables import find_loaded, takes_keyword
from django_q.logs import clean, print_safely

CLAIMED: Final = frozenset(
    {"hook", "group", "save", "sync", "cached", "ack_failure", "iter_count"}
    | {"iter_cached", "chain", "broker", "cluster", "timeout"}
)
"""The keywords of async_task that always were options, whatever the function takes."""

YIELDING: Final = frozenset(
    {"max_attempts", "retry_delay", "retry_delay_max", "max_deliveries"}
    | {"stop_on_failure", "outbox", "atomic"}
)
"""Options that earlier releases did not know: they gave these keywords to the function.

So a function that takes one still gets it; it is an option where calling the function
with it would have failed.
"""

TASK_OPTIONS: Final = CLAIMED | YIELDING
"""The keywords of async_task that are options; all others belong to the function."""

CALL_OPTIONS: Final = frozenset(
    {"task_name", "task_id", "iter_index", "iter_hook", "iter_group"}
    | {"slot", "undecided_options"}
)
"""Options that only `q_options` may hold, and the task's name, which may be both."""


LONGEST_NAME: Final = 100
"""Characters of a queue's name that every broker takes."""


class Kind(NamedTuple):
    """What an option may be."""

    words: str
    accepts: Callable[[Any], bool]


def split_options(
    func: Any, kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords of async_task as (options, keywords of the function); pure.

    An option inside `q_options` wins, and a keyword of the same name then goes to the
    function. Unknown keys of `q_options` are dropped. A keyword that is one of YIELDING
    is the function's if it takes it. Where the function is not at hand, since nothing
    is imported here, the option is noted in `undecided_options`, and the worker decides
    (`Envelope.decided_for`).
    """
    if not kwargs:
        return {}, {}
    rest = dict(kwargs)
    chosen = rest.pop("q_options", None) or {}
    if not isinstance(chosen, Mapping):
        message = f"q_options must be a dictionary, not {chosen!r}."
        raise TypeError(message)
    allowed = TASK_OPTIONS | CALL_OPTIONS
    options = {key: value for key, value in chosen.items() if key in allowed}
    if "task_name" in rest:
        options["task_name"] = rest.pop("task_name")
    for key in rest.keys() & CLAIMED - options.keys():
        options[key] = rest.pop(key)
    for key in sorted(rest.keys() & YIELDING - options.keys()):
        owner = _owner_of(func, key, rest[key])
        if owner is not Owner.FUNCTION:
            options[key] = rest.pop(key)
        if owner is Owner.UNDECIDED:
            earlier = options.get("undecided_options") or ()
            options["undecided_options"] = [*earlier, key]
    return options, rest


class Owner(enum.Enum):
    """Whose a keyword is."""

    FUNCTION = enum.auto()
    TASK = enum.auto()
    UNDECIDED = enum.auto()


def _owner_of(func: Any, key: str, value: Any) -> Owner:
    found = find_loaded(func) if isinstance(func, str) else func
    if callable(found):
        return Owner.FUNCTION if takes_keyword(found, key) else Owner.TASK
    # What can't be an option was never meant to be one.
    return Owner.UNDECIDED if is_usable(key, value) else Owner.FUNCTION


def split_link(link: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """A member of a chain as function, arguments and keywords."""
    if not isinstance(link, tuple):
        return link, (), {}
    func, *rest = link
    args = rest[0] if rest else ()
    kwargs = rest[1] if len(rest) > 1 else {}
    return func, tuple(args), dict(kwargs)


def check_options(
    given: Mapping[str, Any], among: Collection[str] = TASK_OPTIONS | CALL_OPTIONS
) -> None:
    """Raise TypeError, in words for its author, for an option that can't be so."""
    for name, value in given.items():
        if name in among and not is_usable(name, value):
            shown = clean(print_safely(value, repr), 80)
            message = f"{name!r} must be {KINDS[name].words}, not {shown}."
            raise TypeError(message)


def is_usable(name: str, value: Any) -> bool:
    """Whether an option may have this value. None always means: not given."""
    return value is None or name not in KINDS or KINDS[name].accepts(value)


def is_function(value: Any) -> bool:
    """What a worker can call, or look up."""
    return bool(value) if isinstance(value, str) else callable(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _is_seconds(value: Any) -> bool:
    return _is_finite(value) and not isinstance(value, bool)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and _is_seconds(value) and int(value) >= least


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_NAME


def _is_label(value: Any) -> bool:
    """What reads well as text: numbers and UUIDs do, collections don't."""
    return isinstance(value, str) or not isinstance(value, Collection)


def _is_chain(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_is_link(link) for link in value)


def _is_link(link: Any) -> bool:
    try:
        func, _args, kwargs = split_link(link)
        check_options(split_options(func, kwargs)[0])
    except (TypeError, ValueError, RecursionError):
        return False
    return is_function(func)


FUNCTION: Final = Kind("a function or its dotted path", is_function)
LABEL: Final = Kind("text", _is_label)
NAME: Final = Kind(f"text of at most {LONGEST_NAME} characters", _is_name)
SWITCH: Final = Kind("True or False", lambda value: isinstance(value, Integral))
LIFETIME: Final = Kind("True, False or a number of seconds", _is_finite)
SECONDS: Final = Kind("a number of seconds", _is_seconds)
PAUSE: Final = Kind(
    "a number of seconds from 0 up", lambda value: _is_seconds(value) and value >= 0
)
FROM_ZERO: Final = Kind("a whole number from 0 up", lambda value: _is_whole(value, 0))
FROM_ONE: Final = Kind("a whole number from 1 up", lambda value: _is_whole(value, 1))
UNDECIDED: Final = Kind(
    "names of options that functions may take",
    lambda value: (
        isinstance(value, list)
        and all(isinstance(k, str) and k in YIELDING for k in value)
    ),
)
CHAIN: Final = Kind("a list of functions or (function, args, kwargs)", _is_chain)
BROKER: Final = Kind("a broker", lambda value: hasattr(value, "enqueue"))

KINDS: Final[Mapping[str, Kind]] = {
    "hook": FUNCTION,
    "iter_hook": FUNCTION,
    "task_name": LABEL,
    "group": LABEL,
    "iter_group": LABEL,
    "cluster": NAME,
    "slot": NAME,
    "broker": BROKER,
    "save": SWITCH,
    "sync": SWITCH,
    "ack_failure": SWITCH,
    "stop_on_failure": SWITCH,
    "outbox": SWITCH,
    "atomic": SWITCH,
    "cached": LIFETIME,
    "iter_cached": LIFETIME,
    "timeout": SECONDS,
    "retry_delay": PAUSE,
    "retry_delay_max": PAUSE,
    "max_attempts": FROM_ZERO,
    "max_deliveries": FROM_ONE,
    "iter_count": FROM_ZERO,
    "iter_index": FROM_ZERO,
    "chain": CHAIN,
    "undecided_options": UNDECIDED,
}

FORGIVEN: Final = frozenset(
    name
    for name, kind in KINDS.items()
    if kind in (LIFETIME, SECONDS, PAUSE, FROM_ZERO, FROM_ONE, UNDECIDED)
)
"""Options that count as not given where a package has what they can't be."""
