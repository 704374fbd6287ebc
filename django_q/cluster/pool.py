"""Pool: worker slots. Spawns, replaces, and kills the overdue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from django_q.cluster.board import (
    NUMBER_MASK,
    Begun,
    Board,
    Cell,
    Row,
    State,
    Turn,
    Word,
)
from django_q.cluster.children import Child
from django_q.cluster.ledger import Death
from django_q.logs import logger
from django_q.options import Options


class Pardon(NamedTuple):
    """Time that a worker gets back after a pause of the whole cluster."""

    word: int
    """The turn that was interrupted."""
    gap: float
    moment: int
    """Where a worker has several places, what was due before this is pardoned too."""


class Pool:
    """The workers of a cluster. Reads their rows on the board; opens nothing else."""

    def __init__(
        self, board: Board, options: Options, spawn: Callable[[str, int], Child]
    ) -> None:
        self._board = board
        self._options = options
        self._spawn = spawn
        self._pardons: dict[int, Pardon] = {}
        self.workers: list[Child] = []
        self.unburied: list[Death] = []
        """Deaths that the pusher has not dealt with; their rows are kept for it."""
        self.clerk: Child | None = None
        """The worker that is there only to record how killed tasks ended."""

    # -- starting

    def fill(self) -> None:
        """Start workers until the pool is full; one that retires is replaced at once."""
        staying = sum(not child.is_retiring for child in self.workers)
        for row in self._free_rows()[: max(0, self._options.worker_count - staying)]:
            child = self._spawn("worker", row)
            self.workers.append(child)

    def employ_clerk(self) -> None:
        """At a stop: the others leave, and only a worker can say how a task ended whose
        own worker was killed.
        """
        if self._board[Word.CONCLUDING] and self.clerk not in self.workers:
            for row in self._free_rows()[:1]:
                self.clerk = self._spawn("worker", row)
                self.workers.append(self.clerk)

    def _free_rows(self) -> list[int]:
        taken = {child.row for child in self.workers}
        mourned = {death.generation for death in self.unburied}
        rows = enumerate(self._board.rows)
        return [n for n, r in rows if n not in taken and r.generation not in mourned]

    # -- ending

    def dead(self) -> list[Child]:
        """Workers whose process has ended; they are no longer in the pool."""
        dead = [child for child in self.workers if not child.process.is_alive()]
        self.workers = [child for child in self.workers if child not in dead]
        return dead

    def death_of(self, child: Child) -> Death:
        """Read the last words of a dead worker on the board: nobody writes there now."""
        row = self._board.rows[child.row]
        begun = row.begun()
        judged = Turn.unpack(child.judged_turn or 0).number
        late = [b.number for b in begun if b.number & NUMBER_MASK == judged]
        cause, text = child.cause, child.text
        if cause == "timed out" and not late and row.turn.number != judged:
            # The verdict was on the task before. One that was only just reporting its
            # end is the one that was judged: if the report did not come, it is over.
            cause, text = "innocent", ""
        death = Death(
            generation=child.generation,
            number=row[Cell.NUMBER],
            begun=begun,
            cause=cause,
            culprit=late[0] if late else 0,
            text=text or f"Its worker {child.how_it_ended()}.",
        )
        self._pardons.pop(child.generation, None)
        self.unburied.append(death)
        return death

    def bury(self, generation: int) -> None:
        """The pusher has dealt with this death: the row is free again."""
        for death in [d for d in self.unburied if d.generation == generation]:
            self.unburied.remove(death)
        for row in self._board.rows:
            if row.generation == generation:
                row.clear()

    # -- overdue tasks

    def kill_overdue(self, gap: float) -> None:
        """Kill workers whose task is past its limit and the grace after it.

        `gap`: seconds for which the whole cluster was paused. The tasks that ran then
        get them back, once.
        """
        for child in self.workers:
            row = self._board.rows[child.row]
            word = row[Cell.TURN]
            if gap:
                self._pardon(child, word, gap)
            if self._rest(child, word) <= 0 and row[Cell.TURN] == word:
                self._condemn(child, row, word)

    def _pardon(self, child: Child, word: int, gap: float) -> None:
        """Several pauses during the same task add up."""
        before = self._pardons.get(child.generation)
        earlier = before.gap if before and before.word == word else 0.0
        moment = self._board.now() if self._options.concurrency > 1 else 0
        self._pardons[child.generation] = Pardon(word, earlier + gap, moment)

    def next_deadline(self) -> float:
        """Seconds until the first task is past its limit and the grace."""
        words = [(c, self._board.rows[c.row][Cell.TURN]) for c in self.workers]
        rests = [self._rest(child, word) for child, word in words]
        return max(0.0, min(rests, default=inf))

    def _rest(self, child: Child, word: int) -> float:
        """Seconds that the turn which this word tells may still take."""
        turn = Turn.unpack(word)
        if turn.state is State.IDLE or not turn.deadline or child.judged_turn:
            return inf
        pardon = self._pardons.get(child.generation)
        is_meant = pardon and (word == pardon.word or turn.deadline <= pardon.moment)
        extra = pardon.gap if pardon and is_meant else 0.0
        limit = turn.deadline / 1000 + self._options.timeout_grace + extra
        return limit - self._board.now() / 1000

    def _condemn(self, child: Child, row: Row, word: int) -> None:
        ran = (self._board.now() - row[Cell.STARTED]) / 1000
        child.judged_turn, child.cause = word, "timed out"
        text = f"Ran past its limit and did not end; its worker was killed after {ran:.1f} s."
        child.text = text
        text = "%s on %s exceeded %.1f s; worker killed"
        logger.error(text, row.task, child.title, ran)
        child.kill()

    def condemn_all(self) -> int:
        """The grace of a stop is over: kill all but the clerk, and who is killed already.
        Gives how many tasks were cut off.
        """
        running = 0
        condemned = [child for child in self.others if not child.is_killed_by_us]
        for child in condemned:
            row = self._board.rows[child.row]
            if begun := row.begun():
                running += len(begun)
                text = "%s did not end in the grace; killed, requeued"
                logger.warning(text, name_of(row, begun))
            if child.judged_turn is None:
                child.cause = "stopped"
            child.kill()
        return running

    # -- looking

    @property
    def others(self) -> list[Child]:
        """Workers that have, or had, tasks to run."""
        return [child for child in self.workers if child is not self.clerk]

    @property
    def is_settled(self) -> bool:
        """Nothing is left to be done about those that died."""
        return not self.unburied and not self._board[Word.CONCLUDING]

    def busy(self) -> int:
        """Workers that are at a task."""
        rows = [self._board.rows[child.row] for child in self.workers]
        return sum(row.turn.state is not State.IDLE for row in rows)


def name_of(row: Row, begun: Sequence[Begun]) -> str:
    """What a worker was at, for messages."""
    return row.task if len(begun) == 1 else f"{len(begun)} tasks"
