"""Call: how an idle cluster learns at once that a package has come to Redis."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Any, Final

from redis.exceptions import RedisError, ResponseError, TimeoutError  # noqa: A004

from django_q.brokers.redis_client import ANSWERS_WITHIN, is_outage
from django_q.brokers.redis_keys import beside
from django_q.brokers.redis_scripts import SETTLE
from django_q.brokers.redis_talk import ask
from django_q.logs import clean, logger

LONGEST_WAIT: Final = 5.0
"""Seconds that Redis lets us wait; then we ask again."""

PATIENCE: Final = 1.5
"""Seconds after that, in which the answer must have come."""

NEXT_TRY: Final = 1.0
SOON: Final = 0.1


class Call:
    """A connection of its own on which Redis is asked to move the next package from the
    list to where those before it stand. It answers when there is one, so that its
    descriptor becomes readable: nobody blocks here.

    The package is on the queue at every instant, in its place, and for everybody: if we
    do not fetch it, others will. While the queue is paused, we wait for a bell instead.
    """

    def __init__(self, client: Any, ready: str) -> None:
        self._client = client
        self._ready = ready
        self._own: Any = None
        self._id = 0
        self._is_for_bell = False
        self._answer_by: float | None = None
        self.is_useless = False

    @property
    def descriptor(self) -> int | None:
        """Becomes readable with the answer; None while nothing is asked."""
        if self._answer_by is None:
            return None
        sock = getattr(self._own, "_sock", None)
        return None if sock is None else int(sock.fileno())

    @property
    def rest(self) -> float:
        """Seconds until the answer must have come; of what is not asked, until to ask."""
        if self.descriptor is None or self._answer_by is None:
            return NEXT_TRY
        return max(SOON, self._answer_by - monotonic())

    def ask(self, is_paused: bool = False) -> None:
        """Ask, unless it is asked already."""
        if self._answer_by is not None or self.is_useless:
            return
        self._is_for_bell = is_paused
        try:
            self._ask()
        except RedisError as error:
            self._lose(error)

    def is_answered(self) -> bool:
        """Whether a package has come, or may have: then it is to be asked anew."""
        if self._answer_by is None:
            return True
        try:
            return self._hear()
        except RedisError as error:
            self._lose(error)
        return True

    def end(self) -> None:
        """Stop waiting. What was moved goes back to the list, unless nothing answers."""
        try:
            self._stop_waiting()
        except TimeoutError:
            return
        except RedisError:
            # The connection broke; another one may do.
            pass
        finally:
            self._hang_up()
        with suppress(RedisError):
            SETTLE(self._client, self._ready)

    def _stop_waiting(self) -> None:
        if self._answer_by is not None:
            ask(self._client, "CLIENT UNBLOCK", self._id)
            self._own.read_response()

    def _connect(self) -> None:
        """Not one of the pool's: the settings may allow that a single one."""
        pool = self._client.connection_pool
        self._own = pool.connection_class(**pool.connection_kwargs)
        self._own.socket_timeout = self._own.socket_timeout or ANSWERS_WITHIN
        # Behind Sentinels, this asks them where the master is; sending would not.
        self._own.connect()
        self._own.send_command("CLIENT", "ID")
        self._id = self._own.read_response()

    def _ask(self) -> None:
        if self._own is None:
            self._connect()
        bell, head = (beside(self._ready, name) for name in ("bell", "head"))
        # It stays where it is, and rings for the next one.
        way = (bell, bell) if self._is_for_bell else (self._ready, head)
        self._own.send_command("BLMOVE", *way, "LEFT", "RIGHT", LONGEST_WAIT)
        self._answer_by = monotonic() + LONGEST_WAIT + PATIENCE

    def _hear(self) -> bool:
        if not self._own.can_read(0):
            if self._answer_by is not None and monotonic() > self._answer_by:
                raise TimeoutError
            return False
        moved = self._own.read_response(disable_decoding=True)
        self._answer_by = None
        if moved is None and not self._is_for_bell:
            self.ask()
            return False
        return True

    def _lose(self, error: RedisError) -> None:
        """Redis before 6.2 can't move, and not everybody may: then never ask again."""
        self._hang_up()
        if isinstance(error, ResponseError) and not is_outage(error):
            self.is_useless = True
            logger.info("Redis can't call (%s): looking again and again", clean(error))

    def _hang_up(self) -> None:
        if self._own is not None:
            self._own.disconnect()
        self._own = self._answer_by = None
