"""Pool: worker slots, deaths, and tasks that are overdue."""

from __future__ import annotations

from math import inf

import pytest

from django_q.cluster.board import Board, Cell, State, Turn, Word
from django_q.cluster.children import Child
from django_q.cluster.pool import Pool
from django_q.options import Options
from tests.unit.cluster.making import Nursery, make_board
from tests.waiting import wait_until


class Slots(Pool):
    """A pool of two whose workers are children of the tests."""

    def __init__(self, nursery: Nursery, *, alive: bool = False) -> None:
        self.board: Board = make_board(4)
        self.started: list[Child] = []
        self.nursery, self.alive = nursery, alive
        options = Options(workers=2, timeout_grace=5.0)
        super().__init__(self.board, options, self.start)

    def start(self, kind: str, row: int) -> Child:
        child = self.nursery.make(kind, row, alive=self.alive)
        self.board.rows[row].clear()
        self.board.rows[row].belongs_to(child.generation, child.pid or 1)
        self.started.append(child)
        return child

    def show(
        self, child: Child, state: State, late: float | None = None, number: int = 77
    ) -> None:
        """Let a worker be at something that should have ended `late` seconds ago."""
        row = self.board.rows[child.row]
        deadline = 0 if late is None else self.board.now() - int(late * 1000)
        row[Cell.NUMBER], row[Cell.KEY] = number, 88
        row[Cell.TURN] = Turn(number, state, deadline).pack()

    def grow_old(self, seconds: float) -> None:
        """The cluster was born earlier."""
        self.board[Word.BIRTH] -= int(seconds * 1000)


@pytest.fixture
def pool(nursery: Nursery) -> Slots:
    pool = Slots(nursery)
    pool.grow_old(1000)
    return pool


# -- slots


def test_pool_is_filled_once(pool: Slots) -> None:
    pool.fill()
    pool.fill()
    assert [child.row for child in pool.workers] == [0, 1]


def test_one_that_retires_is_replaced_at_once(pool: Slots) -> None:
    pool.fill()
    pool.workers[0].is_retiring = True
    pool.fill()
    assert [child.row for child in pool.workers] == [0, 1, 2]


def test_row_of_the_dead_is_kept_until_they_are_buried(pool: Slots) -> None:
    pool.fill()
    dead = pool.dead()
    assert pool.workers == []
    deaths = [pool.death_of(child) for child in dead]
    assert pool.unburied == deaths
    pool.fill()
    assert [child.row for child in pool.workers] == [2, 3]
    pool.bury(dead[0].generation)
    assert pool.unburied == deaths[1:]
    assert pool.board.rows[0].generation == 0
    pool.bury(dead[0].generation)


def test_full_board_waits_for_burials(pool: Slots) -> None:
    for _ in range(2):
        pool.fill()
        for child in pool.dead():
            pool.death_of(child)
    pool.fill()
    assert pool.workers == []
    pool.bury(pool.started[3].generation)
    pool.fill()
    assert [child.row for child in pool.workers] == [3]


def test_the_living_are_not_dead(nursery: Nursery) -> None:
    pool = Slots(nursery, alive=True)
    pool.fill()
    assert pool.dead() == []
    first, second = pool.workers
    first.process.kill()
    assert wait_until(pool.dead) == [first]
    assert pool.workers == [second]
    first.process.join()
    text = pool.death_of(first).text
    assert text.startswith("Its worker died by signal 9 (SIGKILL), perhaps for want")


def test_clerk_is_employed_once_and_only_if_something_is_to_be_concluded(
    pool: Slots,
) -> None:
    pool.fill()
    pool.employ_clerk()
    assert pool.clerk is None
    pool.board[Word.CONCLUDING] = 1
    assert not pool.is_settled
    pool.employ_clerk()
    pool.employ_clerk()
    assert [child.row for child in pool.workers] == [0, 1, 2]
    assert pool.others == pool.workers[:2]
    pool.condemn_all()
    assert [child.cause for child in pool.workers] == ["stopped", "stopped", "lost"]
    for child in pool.dead():
        pool.bury(pool.death_of(child).generation)
    pool.employ_clerk()
    assert pool.workers == [pool.clerk]


# -- last words


@pytest.mark.parametrize(
    ("state", "opening", "running"),
    [
        (State.IDLE, False, False),
        (State.OPENING, True, True),
        (State.RUNNING, False, True),
        (State.FINISHING, False, False),
    ],
)
def test_last_words_stand_on_the_board(
    pool: Slots, state: State, *, opening: bool, running: bool
) -> None:
    pool.fill()
    pool.show(pool.started[0], state)
    death = pool.death_of(pool.started[0])
    assert death.number == 77
    assert death.begun == ([(77, 88, opening)] if running else [])
    assert death.cause == "lost"
    assert death.generation == pool.started[0].generation


# -- overdue


def test_task_within_its_limit_and_grace_is_left_alone(pool: Slots) -> None:
    pool.fill()
    pool.show(pool.started[0], State.RUNNING, late=4.0)
    pool.kill_overdue(0.0)
    assert pool.started[0].judged_turn is None
    assert 0 < pool.next_deadline() <= 1.0


@pytest.mark.parametrize("state", [State.OPENING, State.RUNNING, State.FINISHING])
def test_overdue_task_is_condemned(
    pool: Slots, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    pool.fill()
    child = pool.started[0]
    pool.show(child, state, late=5.1)
    assert pool.next_deadline() == 0.0
    pool.kill_overdue(0.0)
    assert child.judged_turn == pool.board.rows[0][Cell.TURN]
    assert child.cause == "timed out"
    assert child.text.startswith("Ran past its limit and did not end")
    assert [m for m in caplog.messages if "exceeded" in m] == [
        m for m in caplog.messages if m.startswith(f"a task on {child.title} exceeded")
    ]
    assert pool.started[1].judged_turn is None
    assert pool.next_deadline() == inf
    assert pool.death_of(child).cause == "timed out"


def test_task_is_condemned_once(pool: Slots, caplog: pytest.LogCaptureFixture) -> None:
    pool.fill()
    pool.show(pool.started[0], State.RUNNING, late=9.0)
    pool.kill_overdue(0.0)
    pool.kill_overdue(0.0)
    assert sum("exceeded" in message for message in caplog.messages) == 1


def test_worker_that_had_moved_on_dies_innocent(pool: Slots) -> None:
    pool.fill()
    child = pool.started[0]
    pool.show(child, State.RUNNING, late=9.0)
    pool.kill_overdue(0.0)
    pool.show(child, State.RUNNING, late=-60, number=78)
    death = pool.death_of(child)
    assert death.cause == "innocent"
    assert death.text.startswith("Its worker ")


def test_worker_that_was_reporting_the_judged_task_is_not_innocent(pool: Slots) -> None:
    pool.fill()
    child = pool.started[0]
    pool.show(child, State.RUNNING, late=9.0)
    pool.kill_overdue(0.0)
    pool.show(child, State.RUNNING)
    assert pool.death_of(child).cause == "timed out"


@pytest.mark.parametrize("state", [State.OPENING, State.RUNNING])
def test_no_limit_is_never_overdue(pool: Slots, state: State) -> None:
    pool.fill()
    pool.show(pool.started[0], state)
    pool.kill_overdue(0.0)
    assert pool.started[0].judged_turn is None
    assert pool.next_deadline() == inf


def test_idle_worker_is_never_overdue(pool: Slots) -> None:
    pool.fill()
    pool.show(pool.started[0], State.IDLE, late=100.0)
    pool.kill_overdue(0.0)
    assert pool.started[0].judged_turn is None


def test_paused_cluster_gives_back_the_time(pool: Slots) -> None:
    pool.fill()
    child = pool.started[0]
    pool.show(child, State.RUNNING, late=30.0)
    pool.kill_overdue(40.0)
    assert child.judged_turn is None
    pool.kill_overdue(0.0)
    assert child.judged_turn is None
    pool.grow_old(60.0)
    pool.kill_overdue(0.0)
    assert child.judged_turn is not None


def test_cluster_that_was_paused_twice_gives_back_both(pool: Slots) -> None:
    pool.fill()
    child = pool.started[0]
    pool.show(child, State.RUNNING, late=0.0)
    for _ in range(2):
        pool.grow_old(20.0)
        pool.kill_overdue(20.0)
    assert child.judged_turn is None


def test_the_next_task_gets_no_pardon(pool: Slots) -> None:
    pool.fill()
    child = pool.started[0]
    pool.show(child, State.RUNNING, late=0.0)
    pool.kill_overdue(40.0)
    pool.show(child, State.RUNNING, late=6.0)
    pool.kill_overdue(0.0)
    assert child.judged_turn is not None


def test_condemned_worker_is_killed(nursery: Nursery) -> None:
    pool = Slots(nursery, alive=True)
    pool.fill()
    pool.grow_old(100)
    pool.show(pool.started[0], State.RUNNING, late=9.0)
    pool.kill_overdue(0.0)
    assert wait_until(pool.dead) == [pool.started[0]]


# -- the end of a stop


def test_grace_of_a_stop_is_over(nursery: Nursery) -> None:
    pool = Slots(nursery, alive=True)
    pool.fill()
    pool.show(pool.started[1], State.RUNNING)
    assert pool.condemn_all() == 1
    wait_until(lambda: pool.dead() or not pool.workers)
    wait_until(lambda: not any(c.process.is_alive() for c in pool.started))
    assert {pool.death_of(child).cause for child in pool.started} == {"stopped"}


def test_busy_workers_are_counted(pool: Slots) -> None:
    pool.fill()
    assert pool.busy() == 0
    for child, state in zip(
        pool.workers, (State.FINISHING, State.OPENING), strict=True
    ):
        pool.show(child, state)
    assert pool.busy() == 2
