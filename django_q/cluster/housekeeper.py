"""Housekeeper: does what time demands. Nobody ever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import datetime
from time import monotonic
from typing import Any, Final
from uuid import UUID

from django.db import connections

from django_q import outbox, results
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
from django_q.transactions import freshen, writing

HEARTBEAT: Final = 4.0
"""Seconds between two heartbeats while nothing changes."""

FRESH: Final = 2.0
"""Seconds after which changed figures are told; a changed state is told at once. Workers
that are recycled change many times in a second.
"""

SIGNS_LAST: Final = 10.0
"""Seconds after which the vital signs of a silent cluster are forgotten."""

LOOK_AT_THE_BOARD: Final = 1.0
"""Seconds after which it is noticed that there is something to do, or nothing more."""

LOOK_FOR_SCHEDULES: Final = 2.0
"""Seconds within which a new or changed schedule is noticed."""

LOOK_FOR_THE_DEAD: Final = 2.0
"""Seconds after which the death of a cluster on this host is noticed at the latest."""

LOOK_FOR_LAPSED: Final = 4.0
"""The same for a lease that ran out."""

TOGETHER: Final = 0.25
"""Seconds by which a chore is done before its time, rather than to wake up once more."""

LOOK_TOGETHER: Final = 1.0
"""The same for a look, rather than to begin a transaction once more."""

PRUNE_EVERY: Final = 5.0
PRUNE_AGAIN: Final = 0.25
"""Seconds until it is done again, when there was something to prune."""

PRUNE_AFTER: Final = 1_000
"""Tasks; when so many have ended since, a busy cluster does not wait for PRUNE_EVERY."""

PRUNE_SELDOM: Final = 20
"""But so many times as long as the look took that found nothing."""

LOOK_TO_PRUNE: Final = 0.1
"""Seconds; where looking for what to prune takes so many times longer, among millions of
rows, so does the pause after it.
"""

PRUNE_AT_LEAST: Final = 300.0
"""Seconds; no pause is longer: that a look took long may have been a lock's fault."""

SWEEP_EVERY: Final = 3600.0


class Chore:
    """Something that is done again and again; its errors never reach the others."""

    def __init__(
        self,
        name: str,
        do: Callable[[], float],
        look: Callable[[], float] | None = None,
    ) -> None:
        """`do` gives the seconds until the next time. So does a `look`, or 0 where it is to
        be done: it asks no more than one or two questions, of the database of results, and
        others may ask theirs in the same transaction.
        """
        self.name = name
        self.look = look
        self._do = do
        self._trouble = Trouble(1.0, 3.0)
        self.due = 0.0

    def is_due(self, early: float = 0.0) -> bool:
        """`early`: so long before its time, unless that is a pause after an error."""
        return monotonic() + (0.0 if self._trouble.rest else early) >= self.due

    def perform(self) -> None:
        """Do it, and plan the next time; after an error, after a growing pause."""
        try:
            for connection in connections.all(initialized_only=True):
                freshen(connection)
            rest = self._do()
        except Exception as error:  # noqa: BLE001 - the edge of a turn: chores are apart
            self.due = monotonic() + self._trouble.begin(
                f"housekeeper: {self.name} failed", error
            )
        else:
            self.put_off(rest)

    def put_off(self, rest: float) -> None:
        """It is done, or need not be, for so many seconds."""
        self._trouble.end(f"housekeeper: {self.name} works")
        self.due = monotonic() + rest


class Pruning(Chore):
    """Deletes old successes: the sooner the more tasks end, and the seldomer the longer it
    takes to find what is too much.
    """

    def __init__(self, pruner: results.Pruner, board: Board) -> None:
        super().__init__("pruning", self.prune)
        self.pruner = pruner
        self._board = board
        self._ended = board[Word.FINISHED]
        self._again = 0.0

    def is_due(self, early: float = 0.0) -> bool:
        ended = self._board[Word.FINISHED] - self._ended
        is_sooner = ended >= PRUNE_AFTER and not self._trouble.rest
        return super().is_due(early) or (is_sooner and monotonic() >= self._again)

    def prune(self) -> float:
        self._ended = self._board[Word.FINISHED]
        pruned = self.pruner.prune()
        if self.pruner.has_more:
            return 0.0
        looked = self.pruner.looked
        self._again = monotonic() + max(PRUNE_AGAIN, looked * PRUNE_SELDOM)
        usual = PRUNE_AGAIN if pruned else PRUNE_EVERY
        return min(usual * max(1.0, looked / LOOK_TO_PRUNE), PRUNE_AT_LEAST)


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
        self.last_beat = 0.0

    def setup(self) -> None:
        self.broker: Broker = copy(self.launch.broker) or get_broker()
        self.echo = Echo.of(self.broker)
        self.database = results.write_alias()
        self.relay = Relay()
        self.clock = WatchedClock()
        is_beside = self.broker.database == self.database
        self.heart = Chore(
            "the heartbeat", self.publish, self.publish if is_beside else None
        )
        self.chores = [
            Chore("the board", self.watch_board),
            self.heart,
            Chore("the clock", self.watch_clock),
        ]
        if self.options.scheduler:
            self.chores.append(self._plan_schedules())
        if self.broker.supports_leases:
            self.broker.enlist(self.launch.identity.id, self.options.lease)
            look = self.rescue if is_beside else None
            self.chores.append(Chore("the rescue", self.rescue, look))
            self.chores.append(Chore("the dead of this host", self.bury_others))
        is_beside = outbox.write_alias() == self.database
        look = self.relay.rest if is_beside else None
        self.chores.append(Chore("the outbox", self.relay.send_overdue, look))
        self.chores.append(Chore("sweeping", self.sweep))
        if self.options.save_limit > 0:
            pruner = results.Pruner(self.options, using=self.database)
            self.pruning = Pruning(pruner, self.board)
            self.chores.append(self.pruning)

    def turn(self) -> None:
        soonest = min(chore.due for chore in self.chores)
        self.listen((), max(0.0, soonest - monotonic()))
        early = TOGETHER if monotonic() >= soonest else 0.0
        if any(chore.look and chore.is_due(early) for chore in self.chores):
            self.look_at_once([c for c in self.chores if c.is_due(LOOK_TOGETHER)])
        for chore in self.chores:
            if chore.is_due(early):
                chore.perform()
        if self.is_stopping:
            self.has_left = self.signs is None or self.signs["status"] == "Stopped"

    def look_at_once(self, due: list[Chore]) -> None:
        """Ask in one transaction what these would ask in one each. If that fails, each will
        find out alone what is wrong.
        """
        looks = [(chore, chore.look) for chore in due if chore.look is not None]
        if len(looks) < 2 or connections[self.database].vendor == "sqlite":
            return
        try:
            with writing(self.database):
                rests = [(chore, look()) for chore, look in looks]
        except Exception:  # noqa: BLE001 - it is not said here
            return
        for chore, rest in rests:
            if rest > 0:
                chore.put_off(rest)

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
            if before is None or before["status"] != self.signs["status"]:
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

    def _plan_schedules(self) -> Chore:
        self.scheduler = Scheduler(self.options, self.broker, self.title)
        is_beside = self.scheduler.database == self.database
        look = self.look_for_schedules if is_beside else None
        return Chore("the scheduler", self.fire_schedules, look)

    def fire_schedules(self) -> float:
        rest = self.look_for_schedules()
        if rest == 0:
            self.scheduler.enqueue_due()
            rest = self.look_for_schedules()
        return rest

    def look_for_schedules(self) -> float:
        rest = self.scheduler.rest()
        return LOOK_FOR_SCHEDULES if rest is None else min(rest, LOOK_FOR_SCHEDULES)

    def rescue(self) -> float:
        """From others when their lease has run out."""
        rescued = self.broker.rescue()
        say_rescued(rescued)
        if len(rescued) >= self.broker.rescued_at_once:
            return 0.0
        return min(self.options.lease / 3, LOOK_FOR_LAPSED)

    def bury_others(self) -> float:
        """Rescue at once from a cluster of this host that is dead for certain."""
        if self.lock_file is not None:
            self.lock_file.bury_others(self.rescue_from)
        return min(self.options.lease / 3, LOOK_FOR_THE_DEAD)

    def rescue_from(self, cluster: str) -> None:
        while texts := self.broker.rescue_from(cluster):
            text = "rescued %s tasks of dead cluster %s: no process of it is left"
            logger.warning(text, len(texts), humanize(cluster))
            say_rescued(texts)

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
