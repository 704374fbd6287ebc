"""Pool: worker slots. Spawns, replaces, and kills the overdue."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from django_q.cluster.board import Board, Cell, Row, State, Turn
from django_q.cluster.children import Child
from django_q.cluster.ledger import Death
from django_q.logs import logger
from django_q.options import Options

AT_WORK = (State.OPENING, State.RUNNING)


class Pool:
    """The workers of a cluster. Reads their rows on the board; opens nothing else."""

    def __init__(
        self, board: Board, options: Options, spawn: Callable[[str, int], Child]
    ) -> None:
        self._board = board
        self._options = options
        self._spawn = spawn
        self._pardons: dict[int, tuple[int, float]] = {}
        self.workers: list[Child] = []
        self.unburied: list[Death] = []
        """Deaths that the pusher has not dealt with; their rows are kept for it."""

    # -- starting

    def fill(self) -> None:
        """Start workers until the pool is full; one that retires is replaced at once."""
        staying = sum(not child.is_retiring for child in self.workers)
        for row in self._free_rows()[: max(0, self._options.worker_count - staying)]:
            child = self._spawn("worker", row)
            self.workers.append(child)

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
        turn = row.turn
        cause, text = child.cause, child.text
        judged = Turn.unpack(child.judged_turn or 0)
        if cause == "timed out" and turn.number != judged.number:
            # The verdict was on the task before. One that was only just reporting its
            # end is the one that was judged: if the report did not come, it is over.
            cause, text = "innocent", ""
        death = Death(
            generation=child.generation,
            number=row[Cell.NUMBER],
            key=row[Cell.KEY],
            was_opening=turn.state is State.OPENING,
            was_running=turn.state in AT_WORK,
            cause=cause,
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
        judged, given = self._pardons.get(child.generation, (word, 0.0))
        earlier = given if judged == word else 0.0
        self._pardons[child.generation] = (word, earlier + gap)

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
        judged, gap = self._pardons.get(child.generation, (0, 0.0))
        extra = gap if judged == word else 0.0
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
        """The grace of a stop is over: kill all. Gives how many tasks were cut off."""
        running = 0
        for child in self.workers:
            row = self._board.rows[child.row]
            if row.turn.state in AT_WORK:
                running += 1
                text = "%s did not end in the grace; killed, requeued"
                logger.warning(text, row.task)
            if child.judged_turn is None:
                child.cause = "stopped"
            child.kill()
        return running

    # -- looking

    def busy(self) -> int:
        """Workers that are at a task."""
        rows = [self._board.rows[child.row] for child in self.workers]
        return sum(row.turn.state is not State.IDLE for row in rows)
