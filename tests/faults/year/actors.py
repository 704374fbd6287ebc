"""Actors: clusters that fire schedules, and somebody who runs the tasks.

Each has a thread and a database connection of its own, and works only while it is its
turn: so a seed decides who is interrupted where, and by whom.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import closing
from datetime import datetime, timedelta
from random import Random
from threading import Semaphore, Thread
from typing import Any, NamedTuple

from django.db import connection, connections

from django_q import clock, results
from django_q.brokers import Broker, get_broker
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.outcome import Outcome
from tests.faults.year.plans import SLOT

LEASE = 3600.0


class Killed(BaseException):
    """Somebody's process is gone. Nothing in the product can catch it."""


class Odds(NamedTuple):
    """How often things go wrong."""

    killed: float
    """At each statement, and at each call of the broker, before it and after it."""

    unheard: float
    """The broker does what it is told, and its answer is lost."""

    paused: float
    """At each look at the database outside of a transaction: it stands still there."""


class Actor(ABC):
    """Works while it has the turn. `turn` gives it the turn until it hands it back."""

    def __init__(self) -> None:
        self.is_working = self.is_over = self._has_left = False
        self._error: BaseException | None = None
        self._ours, self._theirs = Semaphore(0), Semaphore(0)
        self._thread = Thread(target=self._live, daemon=True)
        self._thread.start()

    @abstractmethod
    def work(self) -> None:
        """What is to be done once."""

    def turn(self) -> None:
        self._ours.release()
        self._theirs.acquire()
        if self._error is not None:
            raise self._error

    def hand_back(self) -> None:
        """Stand still until it is our turn again."""
        self._theirs.release()
        self._ours.acquire()

    def end(self) -> None:
        """Let its thread end; what it was doing, it finishes."""
        self.is_over = True
        while not self._has_left:
            self._ours.release()
            self._theirs.acquire()
        self._thread.join()

    def _live(self) -> None:
        self._ours.acquire()
        try:
            while not self.is_over:
                self.is_working = True
                self.work()
                self.is_working = False
                if not self.is_over:
                    self.hand_back()
        except BaseException as error:  # noqa: BLE001 - raised by turn()
            self._error = error
        finally:
            self.is_working, self._has_left = False, True
            connections.close_all()
            self._theirs.release()


class Cluster(Actor):
    """The scheduler of one cluster, on a machine whose clock is set at times."""

    def __init__(self, random: Random, odds: Odds, visit: Callable[[], None]) -> None:
        super().__init__()
        self.random = random
        self.odds = odds
        self.visit = visit
        """Lets somebody else work while we are in a transaction."""

        self.time: Callable[[], datetime]
        self.ahead = timedelta()
        """How wrong its clock is."""

        self.rounds_away = 0
        """For so many rounds it is dead, or stands still."""

        self.counts: Counter[str] = Counter()
        self.restart()

    def restart(self) -> None:
        self.scheduler: Scheduler | None = None

    def work(self) -> None:
        with connection.execute_wrapper(self._at_statement):
            try:
                self._fire()
            except Killed:
                self.restart()
                # The server rolls back what was open; of the rest nobody knows any more.
                connection.close()
                del connections[connection.alias]
                self.rounds_away = self.random.randint(0, 20)
                self.counts["killed"] += 1
            except ConnectionError:
                self.counts["unheard"] += 1

    def _fire(self) -> None:
        if self.scheduler is None:
            broker = fragile(self._at_broker)
            self.scheduler = Scheduler(get_options(), broker, "year")
        self.counts["passes"] += 1
        self.counts["fired"] += self.scheduler.enqueue_due(self.time() + self.ahead)

    def _at_statement(
        self, execute: Callable[..., Any], sql: str, *more: Any, **rest: Any
    ) -> Any:
        self._perhaps_die()
        answer = execute(sql, *more, **rest)
        self._perhaps_die()
        if connection.in_atomic_block:
            self.visit()
        elif sql.startswith("SELECT") and self.random.random() < self.odds.paused:
            self._stand_still()
        return answer

    def _at_broker(self) -> Generator[None]:
        """Around a call of the broker."""
        self._perhaps_die()
        yield
        self._perhaps_die()
        if self.random.random() < self.odds.unheard:
            message = "The answer is lost."
            raise ConnectionError(message)

    def _perhaps_die(self) -> None:
        if self.random.random() < self.odds.killed:
            raise Killed

    def _stand_still(self) -> None:
        self.rounds_away = self.random.choice((0, 0, 0, 1, 5, 20))
        self.counts["paused"] += 1
        self.hand_back()


class Fragile:
    """Comes before the class of a broker: something may happen around `enqueue`."""

    around: Callable[[], Generator[None]]

    def enqueue(self, package: str, *, task_id: str | None = None, **more: Any) -> Any:
        steps = type(self).around()
        next(steps)
        enqueue: Any = super().enqueue  # type: ignore[misc]
        answer = enqueue(package, task_id=task_id, **more)
        next(steps, None)
        return answer


def fragile(around: Callable[[], Generator[None]]) -> Broker:
    """The broker of the settings, around whose `enqueue` something may happen."""
    kind = type(get_broker())
    made = type(kind.__name__, (Fragile, kind), {"around": staticmethod(around)})
    broker: Broker = made()
    return broker


class Workers(Actor):
    """Run the tasks, as the workers of all clusters together; note which slots they had.

    Between two steps somebody else may have the turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ran: Counter[tuple[str, str]] = Counter()

    def work(self) -> None:
        with closing(get_broker()) as broker:
            broker.enlist(uuid.uuid4().hex, LEASE)
            while found := broker.dequeue(200):
                self.hand_back()
                tasks = [Envelope.open(package) for _, package in found]
                tasks = [t for t in tasks if not results.has_succeeded(t)]
                self.ran.update((str(t.group), t.kwargs[SLOT]) for t in tasks)
                results.save([record_of(t) for t in tasks], using="default")
                self.hand_back()
                broker.acknowledge_many([str(receipt) for receipt, _ in found])
                self.hand_back()


def record_of(task: Envelope) -> results.Record:
    """The record of its success."""
    outcome = Outcome(
        envelope=task, success=True, result=None, stopped=clock.now(), ran=0.0
    )
    return results.make_record(outcome, get_options())[1]
