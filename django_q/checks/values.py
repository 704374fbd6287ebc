"""Names and types of the settings; pure."""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Final

from django.core.checks import CheckMessage
from django.utils.functional import Promise

from django_q.checks.messages import error, warning
from django_q.logs import clean
from django_q.masking import mask
from django_q.options import NEGATIVE_IS_MEANT, Options
from django_q.task_options import Kind

TYPES: Final = {field.name: str(field.type) for field in fields(Options)}
KNOWN: Final = frozenset({*TYPES, "ALT_CLUSTERS"})


def judge_keys(raw: Mapping[Any, Any], where: str) -> Iterator[CheckMessage]:
    """Unknown settings, and settings that are not what they must be."""
    for key, value in raw.items():
        if key not in KNOWN:
            yield _unknown(key, where)
        elif value:
            # 0, None and everything empty stood for the default ever since.
            yield from _judge_value(key, value, where)


def _unknown(key: Any, where: str) -> CheckMessage:
    names = {name.lower(): name for name in KNOWN}
    close = get_close_matches(str(key).lower(), names, n=1, cutoff=0.7)
    message = f"{where} has no setting {key!r}."
    if close:
        message += f" Did you mean {names[close[0]]!r}?"
        hint = "Rename the key, or remove it. It is ignored."
        return warning("W001", message, hint)
    hint = "See the list of settings: python manage.py qinfo --config"
    return warning("W002", f"{message} It is ignored.", hint)


def _judge_value(key: str, value: Any, where: str) -> Iterator[CheckMessage]:
    kind = _kind(key)
    shown = clean(repr(mask(key, value)), 30)
    if kind.accepts(value):
        is_below = isinstance(value, int | float) and value < 0
        if is_below and key not in NEGATIVE_IS_MEANT:
            message = f"{where}[{key!r}] must be 0 or more, not {shown}."
            yield warning("W016", message, "Correct it. The default is used.")
        return
    message = f"{where}[{key!r}] must be {kind.words}, not {shown}."
    make, number = (warning, "W016") if _was_harmless(key) else (error, "E003")
    yield make(number, message, _advise(key, value))


def _kind(key: str) -> Kind:
    if key in SPECIAL:
        return SPECIAL[key]
    return KINDS[TYPES[key].removesuffix(" | None")]


def _was_harmless(key: str) -> bool:
    """Whether older releases went on with any value, so that it is no error."""
    is_switch = TYPES.get(key, "").startswith("bool")
    return is_switch or key in {"save_limit_per", "log_level"}


def _advise(key: str, value: Any) -> str:
    """What to write instead: the number that the text holds, or an example."""
    example = EXAMPLES.get(key)
    if isinstance(value, str) and TYPES.get(key, "").startswith(("int", "float")):
        with suppress(ValueError):
            example = int(value)
    if example is None:
        return "Correct it, or remove it for the default."
    return f"Write {key!r}: {example!r}."


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str | Promise)


def _is_dictionary(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_level(value: Any) -> bool:
    return isinstance(value, int) or str(value) in logging.getLevelNamesMapping()


def _one_of(words: Collection[str]) -> Kind:
    *most, last = map(repr, words)
    return Kind(f"{', '.join(most)} or {last}", lambda value: value in words)


KINDS: Final[Mapping[str, Kind]] = {
    "int": Kind("a whole number", _is_whole),
    "float": Kind("a number of seconds", _is_number),
    "bool": Kind("True or False", lambda value: not _is_text(value)),
    "bool | int": Kind("True, False or a number of seconds", _is_number),
    "str": Kind("text", _is_text),
    "dict[str, Any]": Kind("a dictionary", _is_dictionary),
    "dict[str, Any] | str": Kind(
        "a URL, a dictionary or a client",
        lambda value: not isinstance(value, int | float),
    ),
    "list[str]": Kind("a list", lambda value: isinstance(value, list | tuple | set)),
}
"""By the type that a setting has in Options."""

FROM_ONE: Final = Kind(
    "a whole number from 1 up", lambda value: _is_whole(value) and value >= 1
)

SPECIAL: Final[Mapping[str, Kind]] = {
    "workers": FROM_ONE,
    "concurrency": FROM_ONE,
    "max_deliveries": FROM_ONE,
    "max_package_size": FROM_ONE,
    "max_result_size": FROM_ONE,
    "max_rss": Kind("a number of kilobytes", _is_number),
    "log_level": Kind("a level like 'INFO'", _is_level),
    "save_limit_per": _one_of(("group", "name", "func")),
    "start_method": _one_of(multiprocessing.get_all_start_methods()),
    "ALT_CLUSTERS": Kind("a dictionary", _is_dictionary),
}
"""Settings of which more is known than their type."""

EXAMPLES: Final[Mapping[str, Any]] = {
    "workers": 4,
    "concurrency": 8,
    "timeout": 300,
    "retry": 60,
    "recycle": 500,
    "save_limit": 250,
    "name": "shop",
    "orm": "default",
    "cache": "default",
    "log_level": "INFO",
    "time_zone": "Europe/Berlin",
    "broker_class": "shop.brokers.Own",
    "redis": "redis://127.0.0.1:6379/0",
    "allowed_functions": ["shop.tasks.*", "math.sqrt"],
    "preload": ["shop.tasks"],
    "disque_nodes": ["127.0.0.1:7711"],
    "ALT_CLUSTERS": {"long": {"timeout": 3600}},
    "save_limit_per": "group",
}


def judge_alternatives(alternatives: Any) -> Iterator[CheckMessage]:
    """The same for what each alternative cluster overrides."""
    if not isinstance(alternatives, Mapping):
        return
    for cluster, overrides in alternatives.items():
        where = f"Q_CLUSTER['ALT_CLUSTERS'][{cluster!r}]"
        if isinstance(overrides, Mapping):
            yield from judge_keys(overrides, where)
        else:
            hint = f"Write {cluster!r}: {{'timeout': 3600}}."
            yield error("E003", f"{where} must be a dictionary.", hint)
