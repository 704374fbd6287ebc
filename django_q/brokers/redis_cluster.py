"""ClusterClient: a Redis Cluster, as whoever serves one queue talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import Lock
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from redis import Redis, RedisCluster
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - the client's name for it
    MovedError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the client's name for it
    TryAgainError,
)

WAITS_FOR_A_MOVE: Final = 2.0
"""Seconds that a queue may be on its way from one node to another."""

BETWEEN: Final = "cript attempted to access a non local key"
"""What a script hears meanwhile, with its first command."""

WHERE_THE_KEY_IS: Final = {"EVAL": 2, "EVALSHA": 2, "SET": 0}

Answer = TypeVar("Answer")


class ClusterClient:
    """Connects with the first question, and asks the node that holds the key.

    What names no key is asked of the node that holds `home`, the list of the queue.
    Nothing is asked twice, unless a node refused it because the key is elsewhere: the
    client of the cluster would repeat what has perhaps been done. All else is its own.
    """

    def __init__(self, make: Callable[[], Any], where: str) -> None:
        self.home = ""
        self.address = f"cluster of {where}"
        self._make = make
        self._lock = Lock()
        self._made: Any = None

    @classmethod
    def around(cls, client: RedisCluster) -> ClusterClient:
        """The same for a client that somebody else has made."""
        nodes = client.nodes_manager.startup_nodes.values()
        return cls(lambda: client, listed((node.host, node.port) for node in nodes))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client(), name)

    def execute_command(self, command: str, *words: Any, **options: Any) -> Any:
        if command == "MGET":
            return [self._value(key, **options) for key in words]
        place = WHERE_THE_KEY_IS.get(command)
        key = self.home if place is None else words[place]
        return self._ask(
            lambda node: node.execute_command(command, *words, **options), key
        )

    def _value(self, key: Any, **options: Any) -> Any:
        """None where there is none, or no text."""
        [value] = self._ask(
            lambda node: node.execute_command("MGET", key, **options), key
        )
        return value

    def info(self, *sections: str) -> Any:
        """Of the node that holds the queue."""
        return self._ask(lambda node: node.info(*sections), self.home)

    def config_get(self, pattern: str) -> Any:
        return self._ask(lambda node: node.config_get(pattern), self.home)

    def scan_iter(self, match: str, count: int = 1000) -> Iterator[Any]:
        """Keys of all nodes."""
        self._ask(lambda node: node.execute_command("PING"), self.home)
        client = self._client()
        for node in client.get_primaries():
            found: Any = client.get_redis_connection(node)
            yield from found.scan_iter(match=match, count=count)

    @property
    def connection_pool(self) -> Any:
        """That of the node which holds the queue."""
        return self._node_of(self.home).connection_pool

    def close(self) -> None:
        with self._lock:
            client, self._made = self._made, None
        if client is not None:
            client.close()

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._connected()
            return self._made

    def _connected(self) -> Any:
        try:
            client = self._make()
            if client.get_default_node() is None:
                # It was closed.
                client.nodes_manager.initialize()
        except RedisClusterException as error:
            raise plain(error) from error
        return client

    def _node_of(self, key: Any) -> Any:
        client = self._client()
        try:
            node = client.get_node_from_key(key)
        except RedisClusterException as error:
            self._learn()
            raise ClusterDownError(str(error)) from error
        return client.get_redis_connection(node)

    def _ask(self, question: Callable[[Any], Answer], key: Any) -> Answer:
        until = monotonic() + WAITS_FOR_A_MOVE
        while True:
            try:
                return question(self._node_of(key))
            except (ConnectionError, TimeoutError, ClusterDownError):
                # Perhaps a replica takes over.
                self._learn()
                raise
            except ResponseError as error:
                if not is_elsewhere(error) or monotonic() > until:
                    raise
                if isinstance(error, MovedError):
                    self._learn()
                sleep(0.02)

    def _learn(self) -> None:
        """Ask all that we know who has what."""
        with suppress(RedisClusterException, RedisError):
            self._client().nodes_manager.initialize()


def is_elsewhere(error: RedisError) -> bool:
    """Whether a node refused, as a whole, because the keys are not with it, or not all.

    AskError is not obeyed: until all keys of a queue have moved, no node can serve it.
    """
    return isinstance(error, AskError | TryAgainError) or BETWEEN in str(error)


def listed(addresses: Iterable[tuple[Any, Any]]) -> str:
    """Hosts and ports for people: 10.0.0.7:6379, 10.0.0.8:6379."""
    return ", ".join(f"{host}:{port}" for host, port in addresses)


def plain(error: BaseException) -> RedisError:
    """Why a cluster can't be used, as an error of the usual kind."""
    chain = [error]
    while reason := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(reason)
    for reason in reversed(chain):
        if isinstance(reason, ResponseError):
            return ResponseError(str(reason))
        if isinstance(reason, RedisError):
            return ConnectionError(str(reason))
    return ConnectionError(str(error))


def is_cluster(client: Redis | RedisCluster | ClusterClient) -> bool:
    return isinstance(client, RedisCluster | ClusterClient)
