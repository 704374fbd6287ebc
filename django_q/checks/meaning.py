"""What the settings name, and how they go together; pure but for imports."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final
from zoneinfo import ZoneInfo, available_timezones

from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from django_q.brokers.registry import KINDS
from django_q.checks.messages import error, warning
from django_q.logs import clean

BROKERS: Final = (
    "broker_class",
    *(kind.setting for kind in KINDS if kind.setting != "redis"),
    # Both lead to Redis; the first one says how to reach it.
    "django_redis",
    "redis",
)
"""The settings that choose a broker; the first one wins."""

PRIVATE_CACHES: Final = ("locmem.LocMemCache", "dummy.DummyCache")
READ_COMMITTED: Final = "read committed"
KEY_LENGTH: Final = 50
KEY_LETTERS: Final = 5
"""A SECRET_KEY with less is weak in the eyes of Django's own check as well."""


def judge_brokers(
    raw: Mapping[str, Any], where: str = "Q_CLUSTER"
) -> Iterator[CheckMessage]:
    """More than one broker, or a class of the project's own that can't be used."""
    named = named_brokers(raw)
    if len(named) > 1:
        count = "two" if len(named) == 2 else str(len(named))
        *first, last = map(repr, named)
        listed = f"{', '.join(first)} and {last}"
        message = f"{where} names {count} brokers: {listed}. {named[0]!r} is used."
        yield warning("W013", message, "Keep one of them.")
    if isinstance(raw.get("broker_class"), str) and raw["broker_class"]:
        yield from _judge_broker_class(raw, where)


def named_brokers(raw: Mapping[str, Any]) -> list[str]:
    """The settings that ask for a broker; the first one wins."""
    named = [key for key in BROKERS if _names_broker(key, raw.get(key))]
    if "django_redis" in named and "redis" in named:
        named.remove("redis")
    return named


def _names_broker(key: str, value: Any) -> bool:
    """An empty dictionary chooses Amazon SQS, and only that."""
    return bool(value) or (key == "sqs" and isinstance(value, dict))


def _judge_broker_class(raw: Mapping[str, Any], where: str) -> Iterator[CheckMessage]:
    path = raw["broker_class"]
    try:
        broker_class = import_string(path)
    except Exception as problem:  # noqa: BLE001 - whatever a module raises is the news
        message = f"{where}['broker_class'] {path!r} cannot be imported."
        yield error("E007", message, _reason(problem))
        return
    flags = ("supports_leases", "supports_renewal")
    comes_back = getattr(broker_class, "supports_receipts", True)
    if comes_back and not any(getattr(broker_class, flag, False) for flag in flags):
        yield from _judge_retry(raw.get("retry") or 60, raw.get("timeout"), where)


def _judge_retry(retry: Any, timeout: Any, where: str) -> Iterator[CheckMessage]:
    """Only for a broker that can't keep a package from others while its task runs."""
    if not isinstance(retry, int | float):
        return
    twice = f"tasks that take longer than {retry} s run twice."
    message = f"{where}['retry'] ({retry}) should be longer than 'timeout'"
    if not timeout:
        hint = f"Set 'timeout' to less than 'retry', or {twice}"
        yield warning("W012", f"{message}, which is not set.", hint)
    elif isinstance(timeout, int | float) and retry <= timeout:
        hint = f"Set 'retry' to {timeout + 60} or more, or {twice}"
        yield warning("W012", f"{message} ({timeout}).", hint)


def _reason(problem: Exception) -> str:
    """Why an import failed, in one line."""
    if not isinstance(problem, ImportError):
        return clean(f"{type(problem).__name__}: {problem}")
    said = clean(problem)
    if not isinstance(problem, ModuleNotFoundError):
        return said
    close = _similar_module(problem.name or "")
    return f"{said}. Did you mean {close!r}?" if close else f"{said}."


def _similar_module(missing: str) -> str | None:
    """A module beside the missing one whose name is much like its name."""
    parent, _dot, name = missing.rpartition(".")
    if not parent:
        return None
    paths = getattr(import_module(parent), "__path__", [])
    names = [module.name for module in pkgutil.iter_modules(paths)]
    close = get_close_matches(name, names, n=1)
    return f"{parent}.{close[0]}" if close else None


def judge_database(
    raw: Mapping[str, Any], databases: Mapping[str, Any], where: str = "Q_CLUSTER"
) -> Iterator[CheckMessage]:
    """The database that holds the queue."""
    alias = raw.get("orm")
    if not alias or not isinstance(alias, str) or alias in databases:
        return
    message = f"{where}['orm'] names the database {alias!r}, which DATABASES lacks."
    yield error("E008", message, f"Known databases: {', '.join(sorted(databases))}.")


def judge_zone(zone: Any) -> Iterator[CheckMessage]:
    """The time zone of the schedules."""
    if not zone or not isinstance(zone, str) or is_zone(zone):
        return
    # Reads the files of all: not before something is wrong.
    close = get_close_matches(zone, sorted(available_timezones()), n=1)
    hint = f"Did you mean {close[0]!r}?" if close else "Write one like 'Europe/Berlin'."
    message = f"Q_CLUSTER['time_zone'] {zone!r} is not a time zone."
    yield error("E012", message, hint)


def is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


def judge_cache(
    raw: Mapping[str, Any], caches: Mapping[str, Any]
) -> Iterator[CheckMessage]:
    """Only where results go to the cache: the vital signs have a place of their own."""
    if not raw.get("cached"):
        return
    alias = str(raw.get("cache") or "default")
    backend = str(caches.get(alias, {}).get("BACKEND", ""))
    if backend.endswith(PRIVATE_CACHES):
        message = f"Cached results go to cache {alias!r}, private to each process."
        hint = "Use a shared cache; nobody else sees cached results and iterables"
        yield warning("W003", message, f"{hint} otherwise.")


def judge_logging(configuration: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """A logger that was configured under the name of the package."""
    loggers = configuration.get("loggers") or {}
    if "django_q" in loggers and "django-q" not in loggers:
        message = "LOGGING configures 'django_q', but the logger is named 'django-q'."
        yield warning("W009", message, "Rename it.")


def judge_save_limit(raw: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Only a 0 that was written down: the default limits what is kept."""
    limit = raw.get("save_limit")
    if limit == 0 and limit is not False:
        message = "Q_CLUSTER['save_limit'] is 0: finished tasks are kept forever."
        hint = "Set 'save_limit' to the number of successes to keep, for example 250."
        yield warning("W010", message, hint)


def judge_repeating(raw: Mapping[str, Any]) -> Iterator[CheckMessage]:
    """Only a False that was written down: the default is one attempt."""
    if raw.get("ack_failures") is False and not raw.get("max_attempts"):
        message = "Q_CLUSTER['ack_failures'] is False: failing tasks run again forever."
        hint = "Set 'max_attempts' to the runs that a task may have, or remove it."
        yield warning("W017", message, hint)


def judge_atomic(
    raw: Mapping[str, Any], results: str, where: str = "Q_CLUSTER"
) -> Iterator[CheckMessage]:
    """Tasks in one transaction with their end need a queue where the results are."""
    if not raw.get("atomic"):
        return
    named = named_brokers(raw)[:1]
    if named == ["broker_class"]:
        if _is_atomic_class(raw["broker_class"]):
            return
        place = f"{raw['broker_class']!r} is no broker for that"
    elif named == ["orm"]:
        if raw["orm"] == results:
            return
        place = f"the queue is in {raw['orm']!r}"
    else:
        place = "the queue is in no database"
    message = f"{where}['atomic'] needs the queue in the database of the results"
    hint = f"Set 'orm' to {results!r} for this queue, or remove 'atomic'."
    yield error("E013", f"{message}, {results!r}, but {place}.", hint)


def _is_atomic_class(path: Any) -> bool:
    """What can't be imported is told elsewhere."""
    try:
        return bool(getattr(import_string(path), "supports_atomic", False))
    except Exception:  # noqa: BLE001 - whatever a module raises
        return True


def judge_locking(
    raw: Mapping[str, Any], databases: Mapping[str, Any]
) -> Iterator[CheckMessage]:
    """SQLite as broker, where a writer may find that it has read too early."""
    alias = raw.get("orm")
    database = databases.get(alias, {}) if isinstance(alias, str) else {}
    options = database.get("OPTIONS") or {}
    mode = str(options.get("transaction_mode") or "").upper()
    is_sqlite = str(database.get("ENGINE", "")).endswith("sqlite3")
    if is_sqlite and mode not in {"IMMEDIATE", "EXCLUSIVE"}:
        message = f"SQLite database {alias!r} is used as broker with default locking."
        hint = 'Set OPTIONS: {"transaction_mode": "IMMEDIATE", "timeout": 20} and WAL,'
        yield warning("W004", message, f"{hint} see docs.")


def judge_isolation(
    raw: Mapping[str, Any], databases: Mapping[str, Any]
) -> Iterator[CheckMessage]:
    """MariaDB or MySQL as broker, where a claim may lock what stands beside its rows.

    Django asks for READ COMMITTED unless it is told something else.
    """
    alias = raw.get("orm")
    database = databases.get(alias, {}) if isinstance(alias, str) else {}
    options = database.get("OPTIONS") or {}
    level = options.get("isolation_level", READ_COMMITTED)
    words = re.split(r"[^a-z]+", str(options.get("init_command")).lower())
    is_mysql = str(database.get("ENGINE", "")).endswith("mysql")
    is_set = level is None and READ_COMMITTED in " ".join(words)
    if is_mysql and not is_set and str(level).lower() != READ_COMMITTED:
        message = (
            f"Database {alias!r} is used as broker with isolation level {level!r}."
        )
        hint = (
            'Set OPTIONS: {"isolation_level": "read committed"}, or expect deadlocks.'
        )
        yield warning("W018", message, hint)


def is_weak(secret_key: str) -> bool:
    """By the same measures as Django's own check."""
    if len(secret_key) < KEY_LENGTH or len(set(secret_key)) < KEY_LETTERS:
        return True
    return secret_key.startswith("django-insecure-")
