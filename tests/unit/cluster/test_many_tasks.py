"""Workers with many tasks at once, as sentinel and pusher see them."""

from __future__ import annotations

from time import monotonic

import pytest

from django_q.brokers import Delivery
from django_q.cluster import hands, recovery
from django_q.cluster.board import Board, Cell, State
from django_q.cluster.frames import Kind, Parcel, decode_parcels
from django_q.cluster.ledger import Death, Entry
from django_q.cluster.places import Places, Ticket
from django_q.cluster.pool import Pool
from django_q.options import Options
from tests.unit.cluster.actors import (
    StepwiseConcurrentPusher,
    lone_pusher,
)
from tests.unit.cluster.making import Nursery, make_board, make_parcel
from tests.unit.cluster.world import Rules, Wire

COUNT = 9
GRACE = 5.0
MINUTE = 60.0
LETTERS = [f"t{n}" for n in range(100)]


def parcel(number: int) -> Parcel:
    return make_parcel(number, key=number * 11)


# -- the sentinel


class Watched(Pool):
    """A pool of one worker, which writes what the test says."""

    def __init__(self, nursery: Nursery) -> None:
        self.board: Board = make_board(4, COUNT + 1)
        self.board[0] -= 1_000_000  # type: ignore[index]
        self.child = nursery.make("worker", 0)
        options = Options(workers=1, concurrency=COUNT, timeout_grace=GRACE)
        super().__init__(self.board, options, lambda _kind, _row: self.child)
        self.fill()
        self.places = Places(self.board, self.board.rows[0], COUNT)

    def run(self, number: int, limit: float | None) -> Ticket:
        """Let it be at a task that has so many seconds left."""
        ticket = self.places.begin(parcel(number), None)
        self.places.show(ticket, State.RUNNING, limit)
        return ticket

    def wait(self, seconds: float) -> None:
        self.board[0] -= int(seconds * 1000)  # type: ignore[index]


@pytest.fixture
def pool(nursery: Nursery) -> Watched:
    return Watched(nursery)


def causes(death: Death) -> dict[int, str]:
    return {begun.number: death.cause_of(begun.number) for begun in death.begun}


def test_worker_is_killed_for_the_one_that_is_overdue(pool: Watched) -> None:
    for number, limit in ((5, None), (6, MINUTE), (7, 10 * MINUTE)):
        pool.run(number, limit)
    pool.wait(MINUTE + GRACE - 1)
    pool.kill_overdue(0.0)
    assert pool.child.judged_turn is None
    assert 0 < pool.next_deadline() <= 1
    pool.wait(2)
    pool.kill_overdue(0.0)
    death = pool.death_of(pool.child)
    assert causes(death) == {5: "innocent", 6: "timed out", 7: "innocent"}
    assert (death.number, death.culprit) == (7, 6)
    assert death.text.startswith("Ran past its limit")


def test_nobody_is_blamed_for_what_had_ended_by_then(pool: Watched) -> None:
    pool.run(5, 10 * MINUTE)
    late = pool.run(6, MINUTE)
    pool.wait(MINUTE + GRACE + 1)
    pool.kill_overdue(0.0)
    pool.places.end(late)
    assert causes(pool.death_of(pool.child)) == {5: "innocent"}


def test_hook_that_does_not_end_is_none_of_the_tasks(pool: Watched) -> None:
    pool.run(5, 10 * MINUTE)
    pool.places.begin_hook(4, MINUTE)
    pool.wait(MINUTE + GRACE + 1)
    pool.kill_overdue(0.0)
    assert pool.child.judged_turn is not None
    assert causes(pool.death_of(pool.child)) == {5: "innocent"}


def test_paused_cluster_gives_the_time_back_to_all_of_them(pool: Watched) -> None:
    tickets = [pool.run(number, MINUTE) for number in (5, 6)]
    pool.wait(3 * MINUTE)
    pool.kill_overdue(3 * MINUTE)
    assert pool.child.judged_turn is None
    pool.places.end(tickets[0])
    pool.kill_overdue(0.0)
    assert pool.child.judged_turn is None
    pool.run(7, MINUTE)
    pool.places.end(tickets[1])
    pool.wait(MINUTE + GRACE + 1)
    pool.kill_overdue(0.0)
    assert pool.child.judged_turn is not None


def test_all_of_them_are_cut_off_by_a_stop(
    pool: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (5, 6, 7):
        pool.run(number, None)
    assert pool.condemn_all() == 3
    assert "3 tasks did not end in the grace" in caplog.text
    assert set(causes(pool.death_of(pool.child)).values()) == {"stopped"}


# -- the pusher


class Office:
    """A pusher with two workers, which only the test leads."""

    def __init__(self, pusher: StepwiseConcurrentPusher) -> None:
        self.pusher = pusher
        pusher.recovery.is_under_way = False
        self.far: dict[int, Wire] = {}
        self.places: dict[int, Places] = {}
        for generation, row in ((1, 0), (2, 1)):
            near, self.far[generation] = Wire.pair()
            pusher.meet("worker", generation, row, near)  # type: ignore[arg-type]
            board_row = pusher.board.rows[row]
            board_row.belongs_to(generation, 1)
            board_row[Cell.ROOM] = COUNT
            self.places[generation] = Places(pusher.board, board_row, COUNT)

    def take(self, *names: str, starts: int = 0) -> list[Entry]:
        """Packages come from the broker."""
        deliveries = [Delivery(f"{name}:1", name, starts=starts) for name in names]
        return [self.pusher.ledger.take(delivery) for delivery in deliveries]

    def given(self) -> dict[int, list[str]]:
        """What each worker was sent since the last look."""
        frames = {g: wire.receive() for g, wire in self.far.items()}
        assert {f.kind for each in frames.values() for f in each} <= {Kind.PARCELS}
        return {
            g: [p.package for f in each for p in decode_parcels(f.body)]
            for g, each in frames.items()
        }

    def begin(self, generation: int) -> None:
        """A worker begins as much as it can, and has no room for more."""
        hand = self.pusher.hands[generation]
        waiting = self.pusher.ledger.unstarted(generation, hand.last)
        for entry in waiting[: self.places[generation].free]:
            self.places[generation].begin(entry.as_parcel(), None)
        hand.row[Cell.ROOM] = 0


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setattr(hands, "sleep", lambda _pause: None)
    pusher = lone_pusher(Rules(places=COUNT))
    assert isinstance(pusher, StepwiseConcurrentPusher)
    return Office(pusher)


def test_workers_get_what_they_can_begin_and_a_few_more(office: Office) -> None:
    office.take(*LETTERS)
    office.pusher.hand_over()
    counts = {g: len(names) for g, names in office.given().items()}
    assert counts == {1: COUNT + 4, 2: COUNT + 4}


def test_work_is_spread_over_workers(office: Office) -> None:
    office.take(*LETTERS[:6])
    office.pusher.hand_over()
    assert sorted(map(len, office.given().values())) == [3, 3]


def test_what_waits_behind_long_tasks_goes_to_who_has_room(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = office.pusher.hands[2]
    other.is_retiring = True
    office.take(*LETTERS[: COUNT + 3])
    office.pusher.hand_over()
    assert len(office.given()[1]) == COUNT + 3
    office.begin(1)
    office.pusher.hands[1].note_turn()
    other.is_retiring = False
    later = monotonic() + 1
    monkeypatch.setattr(hands, "monotonic", lambda: later)
    office.pusher.relieve_stuck()
    assert office.given() == {1: [], 2: LETTERS[COUNT : COUNT + 3]}


def test_what_ends_in_one_place_hides_nothing_of_those_who_wait(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn of the row moves on; the number of what is begun tells."""
    office.take(*LETTERS)
    office.pusher.hand_over()
    wide = office.pusher.hands[1]
    office.begin(1)
    wide.note_turn()
    later = monotonic() + 1
    monkeypatch.setattr(hands, "monotonic", lambda: later)
    office.places[1].end(next(iter(office.places[1]._held)))  # noqa: SLF001
    assert wide.is_stuck


def test_suspects_go_in_groups_and_the_last_time_alone(office: Office) -> None:
    office.take("a", "b", "c", "d", starts=1)
    office.take("last", starts=2)
    office.take("innocent")
    office.pusher.hand_over()
    assert office.given() == {1: ["a", "b", "c"], 2: ["d"]}
    office.pusher.ledger.settle(["a:1", "b:1", "c:1"])
    office.pusher.hand_over()
    assert office.given() == {1: ["last"], 2: []}
    office.pusher.ledger.settle(["d:1"])
    office.pusher.hand_over()
    assert office.given() == {1: [], 2: ["innocent"]}


def test_one_worker_is_let_run_empty_for_suspects_and_others_go_on(
    office: Office,
) -> None:
    office.take(*LETTERS[:3])
    office.pusher.hand_over()
    given = office.given()
    fewer = min(given, key=lambda g: len(given[g]))
    other = 3 - fewer
    office.take("suspect", starts=1)
    office.take("innocent")
    office.pusher.hand_over()
    assert office.given() == {other: ["innocent"], fewer: []}
    office.pusher.ledger.settle([f"{name}:1" for name in given[fewer]])
    office.pusher.hand_over()
    assert office.given() == {fewer: ["suspect"], other: []}


def test_nothing_stands_behind_suspects(office: Office) -> None:
    office.take("a", "b", starts=1)
    office.pusher.hand_over()
    office.take("innocent")
    office.pusher.hand_over()
    assert sorted(map(len, office.given().values())) == [1, 2]
    assert all(
        len({entry.is_suspect for entry in held.values()}) == 1
        for held in office.pusher.ledger.hands.values()
    )


def test_worker_that_dies_with_many_does_not_keep_the_leases_waiting(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "JUDGED_AT_ONCE", 4)
    pusher = office.pusher
    office.take(*LETTERS[:20])
    pusher.hand_over()
    office.begin(1)
    row = pusher.hands[1].row
    begun = row.begun()
    death = Death(1, row[Cell.NUMBER], begun, "innocent", 0, "")
    pusher.ledger.bury(death)
    pusher.recovery._deaths[1] = death  # noqa: SLF001
    pusher.recovery.testify(1, [])
    monkeypatch.setattr(pusher.broker, "renew", set)
    looks = 0
    while pusher.recovery._deaths:  # noqa: SLF001
        pusher.recovery.advance(pusher.broker)
        looks += 1
    assert looks == -(-len(begun) // 4)
    assert len(pusher.ledger.free) == 10
