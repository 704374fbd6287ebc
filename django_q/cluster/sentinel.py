"""Sentinel: starts, watches and replaces all other processes, and only watches."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any, Final

import django_q
from django_q.cluster.board import Cell, Word
from django_q.cluster.children import Child, Spawner
from django_q.cluster.farewell import Farewell
from django_q.cluster.frames import Frame, Kind, control
from django_q.cluster.gauges import forget_gauges
from django_q.cluster.lines import Line, widen
from django_q.cluster.pool import Pool, name_of
from django_q.cluster.roles import LONGEST_PAUSE, Launch, Role
from django_q.cluster.storm import Storm
from django_q.logs import logger

INTERRUPTED: Final = 3
"""Exit code: the stop cut tasks off."""

SINGLES: Final = ("monitor", "pusher", "housekeeper")
IN_ORDER: Final = ("pusher", "monitor", "worker", "housekeeper")
"""How they start: what takes longest until the first task begins comes first, and no task
waits for the housekeeper.
"""

PEERS: Final = frozenset(
    {("monitor", "pusher"), ("monitor", "worker"), ("pusher", "worker")}
)
"""Who has a line to whom."""

PID_WORDS: Final = {
    "pusher": Word.PUSHER,
    "monitor": Word.MONITOR,
    "housekeeper": Word.HOUSEKEEPER,
}


class Sentinel(Role):
    """Duties: 1. keep every role alive; 2. introduce the roles to each other; 3. kill
    what is overdue; 4. lead the stop; 5. tell how the cluster is.

    Opens no package, table or network connection, and no task passes through it.
    """

    kind = "sentinel"
    has_lifeline = False

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        template = replace(launch, control=None)
        self.spawner = Spawner(template, launch.method)
        self.singles: dict[str, Child] = {}
        self.pool = Pool(self.board, self.options, self.spawn)
        self.farewell = Farewell(self.options.stop_timeout)
        self.storm = Storm()
        self.reincarnations = 0
        self.has_reported_ready = False
        self.reported: tuple[int, dict[str, Any]] | None = None
        """The housekeeper that was told, and what."""
        self.last_turn = monotonic()
        self.pause = 0.0

    def setup(self) -> None:
        logger.info("%s guarding cluster at %s", self.title, os.getpid())

    def turn(self) -> None:
        self.collect()
        self.reap()
        if self.control.closed:
            return
        if self.farewell.has_begun:
            self.has_left = self.say_farewell()
        self.revive()
        self.pool.kill_overdue(self._gap())
        self.report()

    def teardown(self) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.reap()
        if self.farewell.interrupted:
            self.exit_code = INTERRUPTED

    @property
    def _children(self) -> list[Child]:
        return [*self.singles.values(), *self.pool.workers]

    # -- news

    def collect(self) -> None:
        children = self._children
        handles = [child.handle for child in children if child.handle is not None]
        lines = [child.line for child in children]
        self.pause = self._patience()
        readable = self.listen(lines, self.pause, handles)
        for child in children:
            if child.line.fileno() in readable:
                self._drain(child)

    def _patience(self) -> float:
        pause = self.options.guard_cycle
        if self._is_at_rest():
            # What is begun meanwhile is not overdue before the whole grace is over.
            pause = max(pause, min(self.options.timeout_grace / 2, LONGEST_PAUSE))
        return min(pause, self.pool.next_deadline(), self.farewell.rest)

    def _is_at_rest(self) -> bool:
        """Everybody is there and tells when he ends, and nobody has anything to do."""
        children = self._children
        is_whole = len(children) == self.options.worker_count + len(SINGLES)
        is_calm = is_whole and self.has_reported_ready and not self.farewell.has_begun
        told = is_calm and all(child.tells_its_end for child in children)
        return told and not self.pool.busy()

    def hear(self, child: Child, frame: Frame) -> None:
        if frame.kind is Kind.READY:
            child.is_ready = True
        elif frame.kind is Kind.RETIRE:
            child.is_retiring = True
        elif frame.kind is Kind.BURIED:
            self.pool.bury(frame.facts["generation"])
        elif frame.kind is Kind.STOPPING:
            self.control.send(control(Kind.STOPPING, **frame.facts))

    def obey(self, frame: Frame) -> None:
        if frame.kind is Kind.STOP:
            # Each pusher writes its number before it fetches anything.
            has_worked = self.board[Word.EPOCH] > 0
            if not has_worked and not self.farewell.has_begun:
                self.control.send(control(Kind.STOPPING, running=0, returned=0))
            cut = bool(frame.facts.get("cut"))
            self.farewell.begin(cut=cut, has_worked=has_worked)

    # -- starting

    def spawn(self, kind: str, row: int = -1) -> Child:
        """Start a role and introduce it to those it works with."""
        lines = [self.control, *(child.line for child in self._children)]
        foreign = [end for line in lines for end in line.ends]
        if row >= 0:
            self.board.rows[row].clear()
        child = self.spawner.spawn(kind, foreign, row)
        if row >= 0:
            self.board.rows[row].belongs_to(child.generation, child.pid)
        for other in self._children:
            if {(kind, other.kind), (other.kind, kind)} & PEERS:
                introduce(child, other)
        return child

    def spawn_single(self, kind: str) -> None:
        child = self.singles[kind] = self.spawn(kind)
        self.board[PID_WORDS[kind]] = child.pid
        if kind == "pusher":
            for death in self.pool.unburied:
                child.line.send(control(Kind.DEAD, **death._asdict()))
        if self.farewell.has_begun and kind != "monitor":
            child.line.send(control(Kind.STOP))

    def revive(self) -> None:
        """Start whatever is missing, unless it has died too often of late."""
        for kind in filter(self.storm.permits, IN_ORDER):
            if kind == "worker":
                self._revive_workers()
            elif kind not in self.singles and self._needs(kind):
                self.spawn_single(kind)

    def _revive_workers(self) -> None:
        if not self.farewell.has_begun:
            self.pool.fill()
        elif self.farewell.needs("worker"):
            self.pool.employ_clerk()

    def _needs(self, kind: str) -> bool:
        return not self.farewell.has_begun or self.farewell.needs(kind)

    # -- ending

    def reap(self) -> None:
        for kind, child in list(self.singles.items()):
            if not child.process.is_alive():
                self._bury_single(kind, child)
        for child in self.pool.dead():
            self._bury_worker(child)

    def _bury_single(self, kind: str, child: Child) -> None:
        self._drain(child)
        child.reap()
        del self.singles[kind]
        self.board[PID_WORDS[kind]] = 0
        if self.farewell.expects(kind):
            return
        self.reincarnations += 1
        self.storm.note_death(kind)
        what = f" with {self._unsaved()} unsaved results" if kind == "monitor" else ""
        what += "; replaced" if self._needs(kind) else ""
        text = "%s %s (%s) %s%s"
        logger.error(text, kind, child.title, child.pid, child.how_it_ended(), what)

    def _unsaved(self) -> int:
        """Ended runs that workers keep until they are saved."""
        return sum(row[Cell.KEPT] for row in self.board.rows)

    def _bury_worker(self, child: Child) -> None:
        self._drain(child)
        child.reap()
        forget_gauges(child.pid)
        death = self.pool.death_of(child)
        pusher = self.singles.get("pusher")
        if pusher is not None:
            pusher.line.send(control(Kind.DEAD, **death._asdict()))
        if child.is_retiring and child.process.exitcode == 0:
            self.reincarnations += 1
            logger.info("recycled worker %s", child.title)
        elif self.farewell.expects("worker"):
            logger.debug("worker %s (%s) was not needed", child.title, child.pid)
        elif not self.farewell.has_begun or child.process.exitcode != 0:
            self.reincarnations += 1
            if not death.begun:
                # What a task does to its worker is counted with the task.
                self.storm.note_death("worker")
            task = name_of(self.board.rows[child.row], death.begun)
            what = f" while running {task}" if death.begun else ""
            what += "" if self.farewell.has_begun else "; replaced"
            text = "worker %s (%s) %s%s"
            logger.error(text, child.title, child.pid, child.how_it_ended(), what)

    def _drain(self, child: Child) -> None:
        """Hear all that a child has said."""
        for frame in child.line.receive():
            self.hear(child, frame)

    def say_farewell(self) -> bool:
        """One step of the stop; True when everybody has left."""
        return self.farewell.advance(
            self.singles, self.pool, self.vital_signs("Stopped")
        )

    # -- telling

    def _gap(self) -> float:
        """Seconds by which this turn came too late: the whole machine was paused."""
        now = monotonic()
        late = now - self.last_turn - self.pause
        self.last_turn = now
        return late if late > 2.0 else 0.0

    def report(self) -> None:
        """Tell the housekeeper how we are, and the root once everybody works."""
        if not self.has_reported_ready and self._is_complete():
            self.has_reported_ready = True
            self.control.send(control(Kind.RUNNING))
        housekeeper = self.singles.get("housekeeper")
        # The farewell has the last word.
        if housekeeper is None or self.farewell.expects("housekeeper"):
            return
        report = housekeeper.generation, self.vital_signs(self.state())
        if report != self.reported:
            self.reported = report
            housekeeper.line.send(control(Kind.VITALS, **report[1]))

    def _is_complete(self) -> bool:
        ready = sum(child.is_ready for child in self._children)
        return ready >= self.options.worker_count + len(SINGLES)

    def state(self) -> str:
        """As far as it does not depend on what there is to do."""
        if self.farewell.has_begun:
            return "Stopping"
        if not self.has_reported_ready:
            return "Starting"
        return "Idle"

    def vital_signs(self, state: str) -> dict[str, Any]:
        """All but what everybody reads on the board."""
        identity, options = self.launch.identity, self.options
        return {
            "cluster_id": identity.id,
            "pid": identity.pid,
            "host": identity.host,
            "status": state,
            "tob": identity.born,
            "sentinel": os.getpid(),
            **{kind: self.board[word] for kind, word in PID_WORDS.items()},
            "workers": [child.pid for child in self.pool.workers],
            "reincarnations": self.reincarnations,
            "name": options.name,
            "queue": options.queue,
            "version": django_q.__version__,
        }


def introduce(one: Child, other: Child) -> None:
    """Give two roles the ends of a line of their own."""
    ends = Line.pair()
    for child, peer, end in ((one, other, ends[0]), (other, one, ends[1])):
        if (child.kind, peer.kind) == ("worker", "monitor"):
            # That does not read while it saves, and workers need not wait for it.
            widen(end)
        facts = {"peer": peer.kind, "generation": peer.generation, "row": peer.row}
        with suppress(OSError):
            child.line.send(control(Kind.INTRODUCE, **facts), handing=end)
