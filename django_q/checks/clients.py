"""Servers beside the database: whether their client is there, and how it connects."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from django.core.checks import CheckMessage

from django_q.brokers.registry import KINDS, Kind
from django_q.checks.meaning import named_brokers
from django_q.checks.messages import error, warning


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
    if isinstance(way, str) and _split(way) is None:
        # Not a word of it: it may have a password.
        hint = "Write it like redis://localhost:6379/0. In a password, quote what is special in URLs."
        yield error("E006", f"{where}['redis'] is not a valid URL.", hint)
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
    if (
        way
        and not _is_local(way)
        and not _is_guarded(way)
        and not options.get("PASSWORD")
    ):
        message = "Task packages travel to the broker without TLS or password."
        message = f"{where}: {message}" if where else message
        hint = "Use rediss:// and a password, or keep the broker on a private network."
        yield warning("W006", message, hint)


def _named_kind(raw: Mapping[str, Any]) -> Kind | None:
    """The broker that wins, if any is named."""
    named = named_brokers(raw)
    setting = "redis" if named[:1] == ["django_redis"] else "".join(named[:1])
    return next((kind for kind in KINDS if kind.setting == setting), None)


def _is_local(way: Any) -> bool:
    """Whether the packages stay on this host."""
    if isinstance(way, str):
        parts = _split(way)
        # What is no URL has an error of its own.
        return (
            parts is None
            or parts.scheme == "unix"
            or _is_loopback(parts.hostname or "localhost")
        )
    if not isinstance(way, Mapping):
        # Several servers: not ours to judge.
        return True
    return bool(way.get("unix_socket_path")) or _is_loopback(
        str(way.get("host") or "localhost")
    )


def _split(way: str) -> SplitResult | None:
    """The parts of a URL; None if it is none."""
    try:
        parts = urlsplit(way)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_guarded(way: Any) -> bool:
    """Whether there is TLS, or a password."""
    if isinstance(way, str):
        parts = urlsplit(way)
        has_password = parts.password or "password" in parse_qs(parts.query)
        return parts.scheme == "rediss" or bool(has_password)
    words = ("ssl", "password", "credential_provider")
    return any(way.get(word) for word in words)
