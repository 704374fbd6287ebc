"""The nodes of Disque: one that answers is talked to, and another one when it fails."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 - the client's name for it
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the client's name for it
)
from redis.retry import Retry

from django_q.brokers.registry import USE_THE_DATABASE
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError
from django_q.logs import clean
from django_q.options import Options

ANSWERS_WITHIN: Final = 10.0
"""Seconds after which a node that says nothing is given up."""

CONNECTS_WITHIN: Final = 5.0

MOST_AT_ONCE: Final = 500
"""Commands that travel in one go."""

PASSED_OVER: Final = 10.0
"""Seconds for which a node that can't be reached is not asked with the others."""

T = TypeVar("T")

DEFAULT_PORT: Final = 7711

LAST_PORT: Final = 65_535

WITHOUT_ONE: Final = "no password is set"

USELESS: Final = ("LEAVING", "MISCONF")
"""Refusals of a node that others are to be asked instead of."""

FULL: Final = "OOM"
"""Refusal of a node that takes nothing new; what it has, it knows best."""

PASSING: Final = {
    "NOREPL": "Start the nodes that are down, or make the others forget them "
    "(CLUSTER FORGET).",
    "PAUSED": "PAUSE with the name of the queue and `none bcast` lets it go on.",
    FULL: "Let clusters work off what waits, or give the nodes more `maxmemory`.",
    "MISCONF": "The node can't write its append-only file: look after its disk.",
    "LEAVING": "Name the nodes that stay in Q_CLUSTER['disque_nodes'].",
    "MAXLEN": "Try again later.",
}
"""Refusals that may be over when it is tried again, and what to do about them."""


class DisqueUnavailable(BrokerUnavailable, ConnectionError):
    """No node can be reached. Also the client's own error, which projects catch."""


class Nodes:
    """A client of whichever node answers.

    They are tried in random order, each once for a command. The one that answered is
    kept until it fails, says that it leaves the others, or everything is closed.
    """

    def __init__(self, addresses: Sequence[str], password: str | None = None) -> None:
        self.addresses = [address_in(text) for text in addresses]
        self._texts = list(dict.fromkeys(addresses))
        self._password = password
        self._client: redis.Redis | None = None
        self._members: list[Nodes] = []
        self.ask_from = 0.0
        """When it is asked again after it could not be reached."""

    def execute_command(
        self, *words: Any, again: bool = True, is_new: bool = False
    ) -> Any:
        """What a node answers. `again`: another one may be asked after a lost answer;
        `is_new`: the command brings something that no node has yet.
        """

        def ask(node: Any) -> Any:
            return node.execute_command(*words)

        # What is refused was not done.
        leave_at = (*USELESS, FULL) if is_new else USELESS
        return self._talk(ask, again=again, leave_at=leave_at)

    def execute_each(
        self,
        commands: Sequence[Sequence[Any]],
        *,
        again: bool = True,
        refusals: bool = False,
    ) -> list[Any]:
        """What is answered to each of several commands.

        `refusals`: they are answers as well; else the first of them is raised.
        """
        load: Sequence[Sequence[Any]]

        def ask(node: Any) -> list[Any]:
            with node.pipeline(transaction=False) as pipe:
                for words in load:
                    pipe.execute_command(*words)
                said: list[Any] = pipe.execute(raise_on_error=False)
            # The client's own way to raise them would show what was sent.
            refused = [each for each in said if isinstance(each, Exception)]
            if refused and not refusals:
                raise refused[0]
            return said

        answers: list[Any] = []
        for begin in range(0, len(commands), MOST_AT_ONCE):
            load = commands[begin : begin + MOST_AT_ONCE]
            answers += self._talk(ask, again=again, leave_at=USELESS if again else ())
        return answers

    @property
    def members(self) -> list[Nodes]:
        """Each node by itself."""
        if not self.are_several:
            return [self]
        if not self._members:
            self._members = [Nodes([text], self._password) for text in self._texts]
        return self._members

    def ask_all(self, ask: Callable[[Nodes], T]) -> list[T]:
        """What each node that can be reached has to say; one that can't is passed over
        for a while.
        """
        answers: list[T] = []
        failed: BrokerUnavailable | None = None
        members = self.members
        now = monotonic()
        for node in [n for n in members if n.ask_from <= now] or members:
            try:
                answers.append(ask(node))
            except BrokerUnavailable as error:
                node.leave()
                node.ask_from = now + PASSED_OVER
                failed = error
        if failed is not None and not answers:
            raise failed
        return answers

    def open_line(self) -> Any:
        """Another connection to the node that is talked to, for a command that waits."""

        def join(node: redis.Redis) -> Any:
            pool = node.connection_pool
            line = pool.connection_class(**pool.connection_kwargs)
            line.connect()
            return line

        return self._talk(join, again=True, leave_at=USELESS)

    @property
    def are_several(self) -> bool:
        return len(self._texts) > 1

    def leave(self) -> None:
        """Begin with another node next time."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def close(self) -> None:
        self.leave()
        for node in self._members:
            node.close()

    def _talk(
        self, ask: Callable[[redis.Redis], T], *, again: bool, leave_at: Sequence[str]
    ) -> T:
        """Ask one node after the other: after a lost answer, if it may be asked `again`,
        and after the refusals of these names.
        """
        untried = random.sample(self.addresses, len(self.addresses))
        with self._plain_words():
            while True:
                node = self._client or self._connect(untried)
                try:
                    return ask(node)
                except (ConnectionError, TimeoutError):
                    self.leave()
                    if not (again and untried):
                        raise
                except ResponseError as error:
                    if name_of(error) not in leave_at or not untried:
                        raise
                    self.leave()

    def _connect(self, untried: list[tuple[str, int]]) -> redis.Redis:
        """A client of the first of these that answers; those tried are taken away."""
        while True:
            client = self._open(untried.pop())
            try:
                client.ping()
            except RedisError as error:
                client.close()
                if is_refused_password(error) or not untried:
                    raise
            else:
                self._client = client
                return client

    def _open(self, address: tuple[str, int]) -> redis.Redis:
        """A client of this node, which connects with the first command."""
        host, port = address
        return redis.Redis(
            host=host,
            port=port,
            password=self._password or None,
            # Its HELLO is another command than that of Redis.
            protocol=2,
            socket_timeout=ANSWERS_WITHIN,
            socket_connect_timeout=CONNECTS_WITHIN,
            socket_keepalive=True,
            # We know better which commands may be repeated.
            retry=Retry(NoBackoff(), 0),
        )

    @contextmanager
    def _plain_words(self) -> Iterator[None]:
        """Errors of the client leave as BrokerUnavailable or BrokerError."""
        try:
            yield
        except RedisError as error:
            raise self._translated(error) from error

    def _translated(self, error: RedisError) -> BrokerError:
        where = ", ".join(f"{host}:{port}" for host, port in self.addresses)
        if is_refused_password(error):
            if WITHOUT_ONE in str(error):
                message = f"Disque at {where} wants no password ({clean(error)})."
                return BrokerError(message, hint="Remove Q_CLUSTER['disque_auth'].")
            message = f"Disque at {where} wants another password ({clean(error)})."
            return BrokerError(message, hint="Set Q_CLUSTER['disque_auth'].")
        if isinstance(error, ConnectionError | TimeoutError):
            message = f"Can't reach the Disque broker at {where} ({clean(error)})."
            hint = "Check that Disque runs and that Q_CLUSTER['disque_nodes'] is right."
            return DisqueUnavailable(message, hint=f"{hint} {USE_THE_DATABASE}")
        message = f"Disque at {where} refuses: {clean(error)}"
        if advice := PASSING.get(name_of(error)):
            return DisqueUnavailable(message, hint=advice)
        is_other = "unknown command" in message
        hint = "Q_CLUSTER['disque_nodes'] is to name servers of Disque."
        return BrokerError(message, hint=hint if is_other else "")


def connect(options: Options) -> Nodes:
    """The nodes of the settings; nothing is connected yet."""
    return Nodes(options.disque_nodes or ["localhost"], options.disque_auth)


def address_in(text: str) -> tuple[str, int]:
    """Host and port in `host:port`, `[::1]:port` or the host alone."""
    host, colon, port = str(text).rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if not port.isascii() or not port.isdecimal() or int(port) > LAST_PORT or not host:
        message = f"Q_CLUSTER['disque_nodes']: {clean(text)!r} is not host:port."
        raise ConfigurationError(message)
    return host.strip("[]"), int(port)


def is_refused_password(error: RedisError) -> bool:
    said = str(error)
    return isinstance(error, AuthenticationError) or said.startswith("NOAUTH")


def name_of(refusal: RedisError) -> str:
    """The name of an error of Disque, with which its text begins."""
    # The client cuts this one off, and makes it a class.
    if isinstance(refusal, OutOfMemoryError):
        return FULL
    return str(refusal).partition(" ")[0]
