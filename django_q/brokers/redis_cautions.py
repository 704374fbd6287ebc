"""Cautions: what about a Redis puts the queue at risk, in a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import SSLConnection
from redis.exceptions import ResponseError

from django_q.brokers.redis_client import address_of
from django_q.brokers.redis_way import is_loopback


def cautions(client: Any) -> list[str]:
    """Asks the server, or the node of the queue; what it won't say is not judged."""
    where = f"Redis at {address_of(client)}"
    pool = client.connection_pool
    return [
        f"{where} {caution}"
        for caution in (*exposures(pool), *_missing_limits(pool), *_losses(client))
    ]


def exposures(pool: Any) -> Iterator[str]:
    """A server on another host that anybody may listen to, or talk to."""
    said = pool.connection_kwargs
    if said.get("path") or is_loopback(_host(pool)):
        return
    has_tls = issubclass(pool.connection_class, SSLConnection)
    if not has_tls:
        yield (
            "is another host, reached without TLS: whoever is in between reads the"
            " arguments of tasks. Use rediss:// where the network is not yours alone."
        )
    words = ("password", "credential_provider", *(["ssl_certfile"] if has_tls else []))
    if not any(said.get(word) for word in words):
        yield (
            "is another host that asks for no password: whoever reaches it can take"
            " and remove tasks. Give its users passwords, or client certificates."
        )


def _host(pool: Any) -> str:
    if getattr(pool, "sentinel_manager", None) is not None:
        return str(pool.get_master_address()[0])
    return str(pool.connection_kwargs.get("host") or "localhost")


def _missing_limits(pool: Any) -> Iterator[str]:
    """Connections that somebody else has made, like those of a cache."""
    if pool.connection_class(**pool.connection_kwargs).socket_timeout is None:
        yield (
            "may be silent for ever: its connections have no socket_timeout. Set one,"
            " or a connection that dies unnoticed holds up whoever waits for it."
        )


def _losses(client: Any) -> Iterator[str]:
    """Settings with which a server may lose a queue."""
    try:
        about = client.info()
    except ResponseError:
        return
    policy = str(about.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        yield (
            "may throw queued tasks away when its memory is full:"
            f" maxmemory-policy is {policy}. Set it to noeviction."
        )
    if not about.get("aof_enabled", True):
        if _takes_snapshots(client):
            yield (
                "keeps what was queued since its last snapshot in memory only:"
                " appendonly is off. Switch it on, or a crash of the server loses that."
            )
        else:
            yield (
                "keeps all that is queued in memory only: appendonly is off, and so are"
                " snapshots. Switch it on, or a restart of the server loses all tasks."
            )


def _takes_snapshots(client: Any) -> bool:
    """As far as we may know."""
    try:
        answer = client.config_get("save")
    except ResponseError:
        return True
    return bool(answer.get("save", True))
