"""How a command reaches Redis, and its answer us."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Final

import redis.client
from redis import Connection, Redis, SSLConnection, UnixDomainSocketConnection

POOLS_ASK_NO_COMMAND: Final = (5, 3)
"""Since this release a connection is had without saying what for."""

PLAIN: Final = (Connection, SSLConnection, UnixDomainSocketConnection)
"""Connections that need not look at the words of a command; those that cache do."""


def converse(client: Any, *words: Any) -> Any:
    """The answer to a command, undecoded: by one of the client's connections, without
    what the client does about them, which takes as long as all that we do.
    """
    if not is_plain(client):
        return ask(client, *words)
    pool = client.connection_pool
    connection = pool.get_connection()

    def talk() -> Any:
        if type(connection) in PLAIN:
            connection.send_packed_command([packed(words, connection.encoder.encode)])
        else:
            connection.send_command(*words)
        return connection.read_response(disable_decoding=True)

    try:
        return connection.retry.call_with_retry(
            talk, lambda _error: connection.disconnect()
        )
    finally:
        pool.release(connection)


def packed(words: Sequence[Any], encode: Callable[[Any], bytes]) -> bytes:
    """A command as it goes over the wire; what is bytes needs no `encode`."""
    parts = [word if type(word) is bytes else encode(word) for word in words]
    sized = [b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]
    return b"".join([b"*%d\r\n" % len(parts), *sized])


def is_plain(client: Any) -> bool:
    """Whether nobody is in between who wants to know of each command: the project's own
    kind of client, or what watches all clients and has put itself before this method.
    """
    method: Any = Redis.execute_command
    return (
        type(client) is Redis
        and client.connection is None
        and isinstance(method, FunctionType)
        and method.__globals__ is vars(redis.client)
        and redis.VERSION >= POOLS_ASK_NO_COMMAND
    )


def ask(client: Redis, command: str, *words: Any) -> Any:
    """The answer to a command, undecoded."""
    options: Any = {"NEVER_DECODE": True}
    return client.execute_command(command, *words, **options)  # type: ignore[no-untyped-call]
