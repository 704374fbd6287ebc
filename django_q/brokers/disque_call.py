"""Call: how an idle cluster learns at once that a job has come to Disque."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from socket import SHUT_WR
from time import monotonic
from typing import Any, Final

from redis.exceptions import RedisError, TimeoutError  # noqa: A004

from django_q.brokers.disque_client import USELESS, Nodes, name_of
from django_q.brokers.disque_jobs import Jobs
from django_q.exceptions import BrokerError

LONGEST_WAIT: Final = 20.0
"""Seconds that a node lets us wait; then we ask again."""

PATIENCE: Final = 5.0
"""Seconds after that, in which the answer must have come."""

ENDS_WITHIN: Final = 1.0
"""Seconds for a node to notice that we wait no longer."""

REST: Final = 1.0
"""Seconds after an error, in which nothing is asked; each time twice as many."""

LONGEST_REST: Final = 30.0


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
        self._rest = REST
        self.lines = 0
        """So many were opened."""
        self._jobs: Jobs = []

    @property
    def is_asking(self) -> bool:
        return self._is_asking

    @property
    def has_jobs(self) -> bool:
        return bool(self._jobs)

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
            if self._line is None:
                self._line, self.lines = self._nodes.open_line(), self.lines + 1
            self._line.send_command("GETJOB", *waiting, "FROM", self._queue)
        except (RedisError, BrokerError) as error:
            self._lose(error)
        else:
            self._is_asking, self._asked = True, monotonic()

    def hear(self) -> None:
        """Read the answer if there is one; one without a job is followed by a question."""
        if self._is_asking:
            try:
                self._hear()
            except RedisError as error:
                self._lose(error)

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
            self._is_asking, self._rest = False, REST
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
        self._rests_until = monotonic() + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)
        if isinstance(error, RedisError) and name_of(error) in USELESS:
            self._nodes.leave()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.disconnect()
        self._line, self._is_asking = None, False


class Calls:
    """A call at each node: else a job that another one has might be found late."""

    def __init__(self, nodes: Sequence[Nodes], queue: str, retry: float) -> None:
        self._calls = [Call(node, queue, retry) for node in nodes]
        self._selector: Any = None
        self._watched: list[tuple[int, int]] = []

    @property
    def descriptor(self) -> int | None:
        """Becomes readable with an answer; None while nothing is asked."""
        found = [(call.descriptor, call.lines) for call in self._calls]
        # A new line may well have the number of a former one.
        watched = [(number, line) for number, line in found if number is not None]
        if len(found) == 1 or not watched:
            return found[0][0]
        if watched != self._watched:
            self._watch(watched)
        return int(self._selector.fileno())

    def ask(self) -> None:
        """Ask where it is not asked, or answered, already."""
        for call in self._calls:
            call.ask()

    def are_answered(self) -> bool:
        """Whether a job has come, or nobody can be asked: then it is to be looked."""
        for call in self._calls:
            call.hear()
        calls = self._calls
        return any(c.has_jobs for c in calls) or not any(c.is_asking for c in calls)

    def take(self, count: int) -> Jobs:
        """Up to so many of what came and is still ours."""
        jobs: Jobs = []
        for call in self._calls:
            if len(jobs) < count:
                jobs += call.take()
        return jobs

    def end(self) -> None:
        """Stop waiting, and give back what came at the last moment."""
        self._watch([])
        for call in self._calls:
            call.end()

    def _watch(self, watched: list[tuple[int, int]]) -> None:
        if self._selector is not None:
            self._selector.close()
        self._watched = watched
        self._selector = DefaultSelector() if watched else None
        for descriptor, _line in watched:
            self._selector.register(descriptor, EVENT_READ)
