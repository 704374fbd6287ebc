"""The client of Redis: made as the settings say, and its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import redis
from django.core.cache import InvalidCacheBackendError
from django.utils.module_loading import import_string
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - the client's name for it
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the client's name for it
    TryAgainError,
)
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from django_q.brokers.advice import about_certificate
from django_q.brokers.redis_cluster import BETWEEN, ClusterClient, is_cluster, listed
from django_q.brokers.redis_rights import refused_command
from django_q.brokers.redis_way import ENTRIES, WHERE, Address, Way, wrong
from django_q.brokers.registry import USE_THE_DATABASE
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError
from django_q.logs import clean
from django_q.optional import find_optional
from django_q.options import Options

ANSWERS_WITHIN: Final = 8.0
"""Seconds after which a connection that says nothing is given up."""

CONNECTS_WITHIN: Final = 5.0

ONE_OF_SEVERAL: Final = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0}
"""The same for a server after which others are asked."""

OUTAGES: Final = (
    AskError,
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

SICK: Final = re.compile(
    "(^|: -)(ASK|BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|MOVED|NOREPLICAS|OOM"
    "|READONLY|TRYAGAIN|UNBLOCKED) "
)
"""The same, where the client has no class for it, or no longer sees it: Redis before 7
wraps what a script hears.
"""

OF_CLUSTERS: Final = frozenset(
    {
        "address_remap",
        "dynamic_startup_nodes",
        "reinitialize_steps",
        "require_full_coverage",
    }
)
"""Keywords of its client that a single server's does not have."""


SAY_WHO_WE_ARE: Final = "Set username and password in Q_CLUSTER['redis']."
ALLOW: Final = (
    "Allow it to the user that Q_CLUSTER['redis'] names, on the keys django_q:*."
)


class RedisUnavailable(BrokerUnavailable, ConnectionError):
    """Redis can't be reached. Also the client's own error, which projects catch."""


def connect(options: Options) -> Any:
    """A client that has not connected yet."""
    if options.django_redis:
        client = _borrow(options.django_redis)
        if client is not None:
            return client
    way = Way.of(options.redis or {})
    if way.client is not None:
        return _own(way.client)
    with plain_settings():
        if way.is_cluster:
            return _cluster(way)
        return _master(way) if way.sentinels else _server(way)


def at_home(client: Any, key: str) -> Any:
    """The same client, which asks the node of this key where there are several."""
    if isinstance(client, redis.RedisCluster):
        client = ClusterClient.around(client)
    if isinstance(client, ClusterClient):
        client.home = key
    return client


# -- how each is made


def _borrow(alias: str) -> redis.Redis | None:
    """The client of a django-redis cache, with its connections; None without package."""
    borrow: Any = find_optional("django_redis", "get_redis_connection")
    try:
        client: redis.Redis | None = borrow and borrow(alias)
    except (InvalidCacheBackendError, NotImplementedError) as error:
        message = f"Q_CLUSTER['django_redis'] {alias!r} is no cache of django-redis."
        raise wrong(message, clean(error)) from error
    return client


def _own(client: Callable[[], Any] | str) -> Any:
    """What the project's own function gives."""
    if not isinstance(client, str):
        return client()
    try:
        make = import_string(client)
    except ImportError as error:
        message = f"{WHERE}['client'] {client!r} cannot be imported."
        raise wrong(message, clean(error)) from error
    try:
        return make()
    except TypeError as error:
        message = f"{WHERE}['client'] {client!r} can't be called without arguments."
        raise wrong(message, clean(error)) from error


def _server(way: Way) -> redis.Redis:
    if way.url:
        limits = _patience(is_socket=way.url.startswith("unix:"))
        client = redis.Redis.from_url(way.url, **{**limits, **way.keywords})
    else:
        client = redis.StrictRedis(**{**_patience(), **way.keywords})
    _rehearse(client)
    return client


def _master(way: Way) -> redis.Redis:
    """Of the service that the Sentinels watch, whichever server that is."""
    limits = {**_patience(), **way.keywords}
    secrets = {**_patience(), **ONE_OF_SEVERAL, **way.sentinel_kwargs}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(way.sentinels), way.min_other_sentinels, secrets, **limits
    )
    client: redis.Redis = sentinel.master_for(way.service_name)  # type: ignore[no-untyped-call]
    _rehearse(client)
    return client


def _cluster(way: Way) -> ClusterClient:
    keywords = {**_patience(), **ONE_OF_SEVERAL, **way.keywords}
    # The client of a cluster ignores what it does not know.
    keywords.pop("db", None)
    usual = {key: keywords[key] for key in keywords.keys() - OF_CLUSTERS}
    redis.Redis(**usual)
    host, port = keywords.pop("host", "localhost"), keywords.pop("port", 6379)
    if way.url:
        address = redis.Redis.from_url(way.url).connection_pool
        return ClusterClient(
            partial(redis.RedisCluster.from_url, way.url, **keywords),
            _host_of(address),
        )
    nodes = way.nodes or ((host, int(port)),)
    return ClusterClient(
        lambda: redis.RedisCluster(startup_nodes=_nodes(nodes), **keywords),
        listed(nodes),
    )


def _nodes(addresses: tuple[Address, ...]) -> list[ClusterNode]:
    return [ClusterNode(host, port) for host, port in addresses]  # type: ignore[no-untyped-call]


def _rehearse(client: redis.Redis) -> None:
    """Make a connection without connecting it: it says whether it knows its keywords."""
    pool = client.connection_pool
    pool.connection_class(**pool.connection_kwargs)


def _patience(*, is_socket: bool = False) -> dict[str, Any]:
    """What the client does not do by itself, unless the settings say otherwise.

    It is not to repeat a command whose answer it did not hear: we know better when
    that does no harm.
    """
    limits: dict[str, Any] = {
        "socket_timeout": ANSWERS_WITHIN,
        "socket_connect_timeout": CONNECTS_WITHIN,
        "retry": Retry(NoBackoff(), 0),
    }
    if not is_socket:
        limits["socket_keepalive"] = True
    return limits


@contextmanager
def plain_settings() -> Iterator[None]:
    """What the client does not take leaves as ConfigurationError."""
    try:
        yield
    except (TypeError, ValueError, RedisError) as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if found is None:
            raise wrong(f"{WHERE} can't be used: {clean(error)}.", "") from error
        message = f"{WHERE} has the entry {found[1]!r}, which the client does not know."
        hint = f"Ours are {', '.join(ENTRIES)}; the rest are keywords of redis.Redis."
        raise ConfigurationError(message, hint=hint) from error


# -- where it is


def address_of(client: Any) -> str:
    """Where the server is, without the password: cache.internal:6379/0."""
    if isinstance(client, ClusterClient):
        return clean(client.address)
    pool = client.connection_pool
    sentinel = getattr(pool, "sentinel_manager", None)
    if sentinel is None:
        where = pool.connection_kwargs
        return clean(where.get("path") or f"{_host_of(pool)}/{where.get('db') or 0}")
    several = ", ".join(_host_of(each.connection_pool) for each in sentinel.sentinels)
    return clean(f"{pool.service_name} (Sentinels: {several})")


def _host_of(pool: Any) -> str:
    where = pool.connection_kwargs
    return f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"


def version_of(client: Any) -> str:
    """Of the server; empty if it won't say."""
    try:
        return str(client.info("server")["redis_version"])
    except ResponseError:
        return ""


# -- errors


@contextmanager
def plain_words(client: Any) -> Iterator[None]:
    """Errors of the client leave as BrokerUnavailable or BrokerError."""
    try:
        yield
    except RedisError as error:
        raise translated(error, client) from error


def translated(error: RedisError, client: Any) -> BrokerError:
    """The error of ours that stands for this one."""
    address, reason = address_of(client), reason_of(error)
    if is_moved(error) and not is_cluster(client):
        hint = "Write Q_CLUSTER['redis'] with 'cluster': True."
        return BrokerError(f"Redis at {address} is a node of a cluster.", hint=hint)
    if isinstance(error, AuthenticationError):
        message = f"Redis at {address} does not let us in ({reason.rstrip('.')})."
        # It may be over too: users and passwords are changed on one side first.
        return RedisUnavailable(message, hint=SAY_WHO_WE_ARE)
    if is_outage(error):
        message = f"Can't reach the Redis broker at {address} ({reason})."
        hint = "Check that Redis runs and that Q_CLUSTER['redis'] is right."
        if speaks_tls(client):
            hint = f"Check that it takes TLS there. {hint}"
        hint = f"{about_certificate(reason) or hint} {USE_THE_DATABASE}"
        return RedisUnavailable(message, hint=hint)
    if command := refused_command(error):
        message = f"Redis at {address} refuses what a script needs: {command}."
        return BrokerError(message, hint=ALLOW)
    message = f"Redis at {address} refuses: {clean(error)}"
    hint = ALLOW if isinstance(error, NoPermissionError) else ""
    return BrokerError(message, hint=hint)


def speaks_tls(client: Any) -> bool:
    pool = None if is_cluster(client) else getattr(client, "connection_pool", None)
    kind = getattr(pool, "connection_class", None)
    return isinstance(kind, type) and issubclass(kind, redis.SSLConnection)


def is_outage(error: RedisError) -> bool:
    """Whether it may be over when it is tried again."""
    said = str(error)
    return isinstance(error, OUTAGES) or bool(SICK.search(said)) or BETWEEN in said


def is_moved(error: RedisError) -> bool:
    """Also where the client knows the error only for clusters."""
    return isinstance(error, MovedError) or str(error).startswith("MOVED ")


def reason_of(error: BaseException) -> str:
    """Why, in a few words: those of the system where it has some."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OSError) and cause.strerror:
        return clean(cause.strerror).lower()
    if isinstance(error, MasterNotFoundError):
        # What each Sentinel said is too much for one line.
        return clean(str(error).partition(" : ")[0]).lower()
    return clean(error) or type(error).__name__
