"""A stream to Redis: answers are read when they have come, and at the end the rest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from django_q.brokers.base import Consignment, Stream
from django_q.brokers.redis_keys import key_of
from django_q.brokers.redis_scripts import ENQUEUE
from django_q.brokers.redis_slips import new_token, words_of
from django_q.brokers.redis_talk import PLAIN, is_plain, packed
from django_q.brokers.streams import StreamBroken


def opener(client: Any) -> Callable[[], Stream] | None:
    """None where somebody is in between, or connections read answers by themselves
    between two commands.
    """
    if not is_plain(client):
        return None
    pool = client.connection_pool
    if pool.connection_class not in PLAIN or getattr(pool, "cache", None) is not None:
        return None
    return partial(_streaming, client)


@contextmanager
def _streaming(client: Any) -> Iterator[Callable[[Sequence[Consignment]], None]]:
    """Gives what sends packages of one queue, over one of the client's connections."""
    try:
        connection = client.connection_pool.get_connection()
    except (RedisError, OSError) as error:
        raise StreamBroken from error
    stream = _Stream(connection)
    try:
        yield stream.send
        stream.end()
    except BaseException:
        # What is still to be read would be taken for the answers of others.
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)


class _Stream:
    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._unanswered = deque[int]()
        self._queued = 0

    def send(self, load: Sequence[Consignment]) -> None:
        # Whoever does not know the script learns it from the first command.
        is_first = not self._queued and not self._unanswered
        script = ("EVAL", ENQUEUE.text) if is_first else ("EVALSHA", ENQUEUE.digest)
        words = [word for each in load for word in words_of(each)]
        command = (*script, 1, key_of(load[0].queue), new_token(), *words)
        data = packed(command, self._connection.encoder.encode)
        with self._mishaps():
            # What was answered need not be sent again when the connection is lost.
            while self._unanswered and self._connection.can_read(timeout=0):
                self._hear()
            # To ask whether the server is well would take our answers for its own.
            self._connection.send_packed_command([data], check_health=False)
        self._unanswered.append(len(load))

    def end(self) -> None:
        with self._mishaps():
            while self._unanswered:
                self._hear()

    def _hear(self) -> None:
        self._connection.read_response()
        self._queued += self._unanswered.popleft()

    @contextmanager
    def _mishaps(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise StreamBroken(self._queued) from error
