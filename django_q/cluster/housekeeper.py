"""Housekeeper: does what time demands. Nobody ever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID

from django.db import connections

from django_q import results
from django_q.brokers import Broker, get_broker
from django_q.cluster.board import Board, State, Word
from django_q.cluster.echo import Echo
from django_q.cluster.frames import Frame, Kind
from django_q.cluster.relay import Relay
from django_q.cluster.roles import Launch, Role
from django_q.cluster.scheduling import Scheduler
from django_q.cluster.shared_clock import WatchedClock
from django_q.cluster.trouble import Trouble
from django_q.humanhash import humanize
from django_q.logs import clean, logger
from django_q.status import Stat
from django_q.transactions import freshen

HEARTBEAT: Final = 4.0
"""Seconds between two heartbeats while nothing changes."""

FRESH: Final = 2.0
"""Seconds after which changed figures are told; a changed state is told at once."""

SIGNS_LAST: Final = 10.0
"""Seconds after which the vital signs of a silent cluster are forgotten."""

LOOK_AT_THE_BOARD: Final = 1.0
"""Seconds after which it is noticed that there is something to do, or nothing more."""

LOOK_FOR_SCHEDULES: Final = 1.0
"""Seconds within which a new or changed schedule is noticed."""

LOOK_FOR_THE_DEAD: Final = 2.0
"""Seconds after which the death of a cluster on this host is noticed at the latest."""

LOOK_FOR_LAPSED: Final = 4.0
"""The same for a lease that ran out."""

TOGETHER: Final = 0.25
"""Seconds by which a chore is done before its time, rather than to wake up once more."""

PRUNE_EVERY: Final = 5.0
SWEEP_EVERY: Final = 3600.0


class Chore:
    """Something that is done again and again; its errors never reach the others."""

    def __init__(self, name: str, do: Callable[[], float]) -> None:
        self.name = name
        self._do = do
        self._trouble = Trouble(1.0, 3.0)
        self.due = 0.0

    def perform(self) -> None:
        """Do it, and plan the next time; after an error, after a growing pause."""
        try:
            for connection in connections.all(initialized_only=True):
                freshen(connection)
            rest = self._do()
        except Exception as error:  # noqa: BLE001 - the edge of a turn: chores are apart
            rest = self._trouble.begin(f"housekeeper: {self.name} failed", error)
        else:
            self._trouble.end(f"housekeeper: {self.name} works")
        self.due = monotonic() + rest


class Housekeeper(Role):
    """Duties: 1. publish the cluster's vital signs; 2. fire due schedules; 3. free what
    dead clusters held; 4. send what was left in the outbox; 5. prune old successes, and
    what is left of deleted tasks and of dead clusters; 6. tell when somebody sets the
    clock.
    """

    kind = "housekeeper"

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.lock_file = launch.lock_file
        self.told: dict[str, Any] | None = None
        """What the sentinel said last."""
        self.signs: dict[str, Any] | None = None
        self.next_rescue = self.last_beat = 0.0

    def setup(self) -> None:
        self.broker: Broker = copy(self.launch.broker) or get_broker()
        self.echo = Echo.of(self.broker)
        self.database = results.write_alias()
        self.relay = Relay()
        self.clock = WatchedClock()
        self.heart = Chore("the heartbeat", self.publish)
        self.chores = [
            Chore("the board", self.watch_board),
            self.heart,
            Chore("the clock", self.watch_clock),
        ]
        if self.options.scheduler:
            self.scheduler = Scheduler(self.options, self.broker, self.title)
            self.chores.append(Chore("the scheduler", self.fire_schedules))
        if self.broker.supports_leases:
            self.broker.enlist(self.launch.identity.id, self.options.lease)
            self.chores.append(Chore("the rescue", self.rescue))
        self.chores.append(Chore("the outbox", self.relay.send_overdue))
        self.chores.append(Chore("sweeping", self.sweep))
        if self.options.save_limit > 0:
            self.chores.append(Chore("pruning", self.prune))

    def turn(self) -> None:
        soonest = min(chore.due for chore in self.chores)
        self.listen((), max(0.0, soonest - monotonic()))
        is_up = monotonic() >= soonest
        for chore in self.chores:
            if monotonic() + (TOGETHER if is_up else 0.0) >= chore.due:
                chore.perform()
        if self.is_stopping:
            self.has_left = self.signs is None or self.signs["status"] == "Stopped"

    def teardown(self) -> None:
        self.echo.close()
        self.relay.close()
        self.broker.close()

    def obey(self, frame: Frame) -> None:
        super().obey(frame)
        if self.is_stopping:
            self.chores = [self.heart]
        if frame.kind is Kind.VITALS:
            self.told = frame.facts
            self.watch_board()

    def watch_board(self) -> float:
        """Have it told soon what has changed."""
        if self.told is not None:
            before, limit = self.signs, self.options.queue_limit
            self.signs = signs_of(self.told, self.board, limit)
            if before is None or _figures(before) != _figures(self.signs):
                self.heart.due = 0.0
            elif before != self.signs:
                self.heart.due = min(self.heart.due, self.last_beat + FRESH)
        return LOOK_AT_THE_BOARD

    def publish(self) -> float:
        if self.signs is not None:
            stat = stat_of(self.signs)
            self.echo.say(stat, SIGNS_LAST)
            stat.publish(self.broker, SIGNS_LAST)
            self.last_beat = monotonic()
        return HEARTBEAT

    def watch_clock(self) -> float:
        self.clock.watch()
        return HEARTBEAT

    def fire_schedules(self) -> float:
        rest = self.scheduler.rest()
        if rest == 0:
            self.scheduler.enqueue_due()
            rest = self.scheduler.rest()
        return LOOK_FOR_SCHEDULES if rest is None else min(rest, LOOK_FOR_SCHEDULES)

    def rescue(self) -> float:
        """At once from a cluster of this host that is dead for certain; from others when
        their lease has run out.
        """
        if self.lock_file is not None:
            self.lock_file.bury_others(self.rescue_from)
        often = min(self.options.lease / 3, LOOK_FOR_THE_DEAD)
        if monotonic() < self.next_rescue:
            return often
        rescued = self.broker.rescue()
        say_rescued(rescued)
        if len(rescued) >= self.broker.rescued_at_once:
            return 0.0
        self.next_rescue = monotonic() + min(self.options.lease / 3, LOOK_FOR_LAPSED)
        return often

    def rescue_from(self, cluster: str) -> None:
        while texts := self.broker.rescue_from(cluster):
            text = "rescued %s tasks of dead cluster %s: no process of it is left"
            logger.warning(text, len(texts), humanize(cluster))
            say_rescued(texts)

    def prune(self) -> float:
        results.prune(self.options, using=self.database)
        return PRUNE_EVERY

    def sweep(self) -> float:
        results.sweep_attempts(using=self.database)
        if self.lock_file is not None:
            self.lock_file.sweep()
        return SWEEP_EVERY


def say_rescued(texts: list[str]) -> None:
    for text in texts:
        logger.warning("rescued %s", clean(text))


def signs_of(told: dict[str, Any], board: Board, limit: int | None) -> dict[str, Any]:
    """The sentinel's report, and what the board says of this moment."""
    rows = [row for row in board.rows if row.pid in told["workers"]]
    signs = told | {
        "task_q_size": board[Word.WAITING],
        "task_q_limit": board[Word.LIMIT] or limit,
        "done_q_size": board[Word.UNSAVED],
        "busy": sum(row.state is not State.IDLE for row in rows),
    }
    has_work = signs["task_q_size"] or signs["done_q_size"] or signs["busy"]
    if has_work and told["status"] == "Idle":
        signs["status"] = "Working"
    return signs


def stat_of(signs: dict[str, Any]) -> Stat:
    """Vital signs as what others read."""
    cluster, born = UUID(signs["cluster_id"]), datetime.fromisoformat(signs["tob"])
    return Stat.of(**signs | {"cluster_id": cluster, "tob": born})


def _figures(signs: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a change of the vital signs worth telling at once."""
    return signs["status"], tuple(signs["workers"]), signs["reincarnations"]
