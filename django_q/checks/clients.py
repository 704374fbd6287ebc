"""Servers beside the database: whether their client is there, and how it connects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from django.core.checks import CheckMessage

from django_q.brokers.redis_way import Way
from django_q.brokers.registry import KINDS, Kind
from django_q.checks.meaning import named_brokers
from django_q.checks.messages import error, warning
from django_q.exceptions import ConfigurationError


def judge_client(raw: Mapping[str, Any], where: str = "") -> Iterator[CheckMessage]:
    """The client library of the broker that the settings name."""
    kind = _named_kind(raw)
    if kind is not None and kind.package and find_spec(kind.package) is None:
        told = f"{where}: {kind.lacks_package}" if where else kind.lacks_package
        yield error("E006", told, kind.remedy)


def judge_redis(
    raw: Mapping[str, Any], where: str = "Q_CLUSTER"
) -> Iterator[CheckMessage]:
    """A way to the server that leads nowhere, and two ways to the same one."""
    way = raw.get("redis")
    if way and isinstance(way, str | Mapping):
        try:
            Way.of(way)
        except ConfigurationError as wrong:
            message = str(wrong).removesuffix(wrong.hint).rstrip()
            yield error("E006", message.replace("Q_CLUSTER", where, 1), wrong.hint)
    if raw.get("redis") and raw.get("django_redis"):
        message = (
            f"{where}['redis'] and 'django_redis' are both set: the second is used."
        )
        yield warning("W015", message, "Keep one of them.")


def judge_exposure(
    raw: Mapping[str, Any], caches: Mapping[str, Any], where: str = ""
) -> Iterator[CheckMessage]:
    """A server on another host that anybody may talk to, or listen to."""
    kind = _named_kind(raw)
    if kind is None or kind.setting != "redis":
        return
    alias = raw.get("django_redis")
    cache = caches.get(alias, {}) if isinstance(alias, str) else {}
    way = cache.get("LOCATION") if alias else raw.get("redis")
    options = cache.get("OPTIONS") or {}
    if way and _is_exposed(way) and not options.get("PASSWORD"):
        message = "Task packages travel to the broker without TLS or password."
        message = f"{where}: {message}" if where else message
        hint = "Use rediss:// and a password, or keep the broker on a private network."
        yield warning("W006", message, hint)


def _named_kind(raw: Mapping[str, Any]) -> Kind | None:
    """The broker that wins, if any is named."""
    named = named_brokers(raw)
    setting = "redis" if named[:1] == ["django_redis"] else "".join(named[:1])
    return next((kind for kind in KINDS if kind.setting == setting), None)


def _is_exposed(way: Any) -> bool:
    """Whether it leads to another host, without TLS or password."""
    if not isinstance(way, str | Mapping):
        # Several servers of a cache: not ours to judge.
        return False
    try:
        found = Way.of(way)
    except ConfigurationError:
        # That has an error of its own.
        return False
    return not found.is_local and not found.is_guarded
