"""A stream to Redis: the answers are read when all is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from django_q.brokers.base import Consignment
from django_q.brokers.redis_keys import key_of
from django_q.brokers.redis_scripts import ENQUEUE
from django_q.brokers.redis_slips import new_token, words_of
from django_q.brokers.redis_talk import say
from django_q.brokers.streams import StreamBroken


@contextmanager
def streaming(client: Any) -> Iterator[Callable[[Sequence[Consignment]], None]]:
    """Gives what sends packages of one queue, over one of the client's connections."""
    with _mishaps():
        connection = client.connection_pool.get_connection()
    unanswered = 0

    def send(load: Sequence[Consignment]) -> None:
        nonlocal unanswered
        # Whoever does not know the script learns it from the first command.
        script = ("EVALSHA", ENQUEUE.digest) if unanswered else ("EVAL", ENQUEUE.text)
        words = [word for each in load for word in words_of(each)]
        with _mishaps():
            say(connection, (*script, 1, key_of(load[0].queue), new_token(), *words))
        unanswered += 1

    try:
        yield send
        with _mishaps():
            for _ in range(unanswered):
                connection.read_response()
    except BaseException:
        # What is still to be read would be taken for the answers of others.
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)


@contextmanager
def _mishaps() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise StreamBroken from error
