"""The client of Redis: made as the settings say, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - the client's name for it
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the client's name for it
    TryAgainError,
)
from redis.retry import Retry

from django_q.brokers.advice import about_certificate
from django_q.brokers.registry import USE_THE_DATABASE
from django_q.exceptions import BrokerError, BrokerUnavailable
from django_q.logs import clean
from django_q.optional import find_optional
from django_q.options import Options

ANSWERS_WITHIN: Final = 10.0
"""Seconds after which a connection that says nothing is given up."""

CONNECTS_WITHIN: Final = 5.0

OUTAGES: Final = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
"""What passes when the server is well again; the rest is a refusal."""

SICK: Final = ("MISCONF", "NOREPLICAS", "BUSY ")
"""The same, where the client has no class for it."""


SAY_WHO_WE_ARE: Final = "Set username and password in Q_CLUSTER['redis']."
ALLOW: Final = (
    "Allow it to the user that Q_CLUSTER['redis'] names, on the keys django_q:*."
)


class RedisUnavailable(BrokerUnavailable, ConnectionError):
    """Redis can't be reached. Also the client's own error, which projects catch."""


def connect(options: Options) -> redis.Redis:
    """A client that has not connected yet."""
    if options.django_redis:
        client = _borrow(options.django_redis)
        if client is not None:
            return client
    settings = options.redis or {}
    if isinstance(settings, str):
        return redis.Redis.from_url(settings, **_patience(settings))
    return redis.StrictRedis(**{**_patience(), **settings})


def _borrow(alias: str) -> redis.Redis | None:
    """The client of a django-redis cache, with its connections; None without package."""
    borrow: Any = find_optional("django_redis", "get_redis_connection")
    client: redis.Redis | None = borrow and borrow(alias)
    return client


def _patience(url: str = "") -> dict[str, Any]:
    """What the client does not do by itself, unless the settings say otherwise.

    It is not to repeat a command whose answer it did not hear: we know better when
    that does no harm.
    """
    limits: dict[str, Any] = {
        "socket_timeout": ANSWERS_WITHIN,
        "socket_connect_timeout": CONNECTS_WITHIN,
        "retry": Retry(NoBackoff(), 0),
    }
    if not url.startswith("unix:"):
        limits["socket_keepalive"] = True
    return limits


def address_of(client: redis.Redis) -> str:
    """Where the server is, without the password: cache.internal:6379/0."""
    where = client.connection_pool.connection_kwargs
    if where.get("path"):
        return clean(where["path"])
    host, port = where.get("host", "localhost"), where.get("port", 6379)
    return clean(f"{host}:{port}/{where.get('db') or 0}")


def cautions(client: redis.Redis) -> list[str]:
    """What is set on the server so that it may lose a queue; nothing if it won't say."""
    try:
        about = client.info()
    except ResponseError:
        return []
    where, found = f"Redis at {address_of(client)}", []
    policy = str(about.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        found.append(
            f"{where} may throw queued tasks away when its memory is full:"
            f" maxmemory-policy is {policy}. Set it to noeviction."
        )
    if not about.get("aof_enabled", True):
        found.append(
            f"{where} keeps what was queued since its last snapshot in memory only:"
            " appendonly is off. Switch it on, or a crash of the server loses that."
        )
    return found


@contextmanager
def plain_words(client: redis.Redis) -> Iterator[None]:
    """Errors of the client leave as BrokerUnavailable or BrokerError."""
    try:
        yield
    except RedisError as error:
        raise translated(error, client) from error


def translated(error: RedisError, client: redis.Redis) -> BrokerError:
    """The error of ours that stands for this one."""
    address, reason = address_of(client), reason_of(error)
    if isinstance(error, AuthenticationError):
        message = f"Redis at {address} does not let us in ({reason.rstrip('.')})."
        # It may be over too: users and passwords are changed on one side first.
        return RedisUnavailable(message, hint=SAY_WHO_WE_ARE)
    if is_outage(error):
        message = f"Can't reach the Redis broker at {address} ({reason})."
        hint = "Check that Redis runs and that Q_CLUSTER['redis'] is right."
        hint = f"{about_certificate(reason) or hint} {USE_THE_DATABASE}"
        return RedisUnavailable(message, hint=hint)
    message = f"Redis at {address} refuses: {clean(error)}"
    hint = ALLOW if isinstance(error, NoPermissionError) else ""
    return BrokerError(message, hint=hint)


def is_outage(error: RedisError) -> bool:
    """Whether it may be over when it is tried again."""
    return isinstance(error, OUTAGES) or str(error).startswith(SICK)


def reason_of(error: BaseException) -> str:
    """Why, in a few words: those of the system where it has some."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return clean(cause.strerror).lower()
    return clean(error) or type(error).__name__
