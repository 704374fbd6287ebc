"""Call: how an idle cluster learns at once that a job has come to Disque."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from socket import SHUT_WR
from time import monotonic
from typing import Any, Final

from redis.exceptions import RedisError, TimeoutError  # noqa: A004

from django_q.brokers.disque_client import USELESS, Nodes, name_of
from django_q.exceptions import BrokerError

LONGEST_WAIT: Final = 20.0
"""Seconds that a node lets us wait; then we ask again."""

PATIENCE: Final = 5.0
"""Seconds after that, in which the answer must have come."""

ENDS_WITHIN: Final = 1.0
"""Seconds for a node to notice that we wait no longer."""

REST: Final = 1.0
"""Seconds after an error, in which nothing is asked."""

Jobs = list[Sequence[Any]]


class Call:
    """A connection of its own on which a node is asked for the next job. It answers when
    there is one, so that its descriptor becomes readable: nobody blocks here. A node that
    has no jobs of this queue asks the others by itself.

    From its answer on the job is ours, for as long as its RETRY says. If we die before we
    have read it, it comes back like any other; so what we read late is not ours any more.
    """

    def __init__(self, nodes: Nodes, queue: str, retry: float) -> None:
        self._nodes = nodes
        self._queue = queue
        self._wait = min(LONGEST_WAIT, retry / 2)
        self._fresh = retry * 3 / 4
        """Seconds after the question for which its answer is surely ours."""
        self._line: Any = None
        self._is_asking = False
        self._asked = self._rests_until = 0.0
        self._jobs: Jobs = []

    @property
    def descriptor(self) -> int | None:
        """Becomes readable with the answer; None while nothing is asked."""
        sock = getattr(self._line, "_sock", None)
        return int(sock.fileno()) if self._is_asking and sock is not None else None

    def ask(self) -> None:
        """Ask, unless it is asked, or answered, already."""
        if self._is_asking or self._jobs or monotonic() < self._rests_until:
            return
        waiting = ("TIMEOUT", int(self._wait * 1000), "WITHCOUNTERS")
        try:
            self._line = self._line or self._nodes.open_line()
            self._line.send_command("GETJOB", *waiting, "FROM", self._queue)
        except (RedisError, BrokerError) as error:
            self._lose(error)
        else:
            self._is_asking, self._asked = True, monotonic()

    def is_answered(self) -> bool:
        """Whether a job has come, or may have: then it is to be asked anew."""
        if self._is_asking:
            try:
                self._hear()
            except RedisError as error:
                self._lose(error)
        return not self._is_asking

    def take(self) -> Jobs:
        """What came and is still ours."""
        jobs, self._jobs = self._jobs, []
        return jobs if monotonic() - self._asked < self._fresh else []

    def end(self) -> None:
        """Stop waiting. What came at the last moment is given back."""
        with suppress(RedisError, OSError):
            if self._is_asking:
                self._say_goodbye()
        self._hang_up()
        with suppress(BrokerError):
            if jobs := self.take():
                names = [name for _queue, name, *_rest in jobs]
                self._nodes.execute_command("ENQUEUE", *names)

    def _hear(self) -> None:
        if self._line.can_read(0):
            self._jobs = self._line.read_response(disable_decoding=True) or []
            self._is_asking = False
            self.ask()
        elif monotonic() > self._asked + self._wait + PATIENCE:
            raise TimeoutError("no answer to GETJOB")

    def _say_goodbye(self) -> None:
        """Say that no more is to come from us, and hear what the node still says.

        When it reads that, it forgets the question; if it had answered, that comes first.
        An answer that meets our goodbye half-way may be dropped: then the job comes back.
        """
        sock = getattr(self._line, "_sock", None)
        if sock is None:
            return
        sock.shutdown(SHUT_WR)
        if self._line.can_read(ENDS_WITHIN):
            self._jobs = self._line.read_response(disable_decoding=True) or []

    def _lose(self, error: Exception) -> None:
        """Look now and then, until it works again."""
        self._hang_up()
        self._rests_until = monotonic() + REST
        if isinstance(error, RedisError) and name_of(error) in USELESS:
            self._nodes.leave()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.disconnect()
        self._line, self._is_asking = None, False
