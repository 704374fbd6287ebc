"""Recovery: dead workers, monitors and former pushers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from django_q.brokers.memory import Memory
from django_q.cluster import recovery as module
from django_q.cluster.board import Cell, Row, State, Turn, Word, mark_of, number_of
from django_q.cluster.frames import Errand, Frame, Kind, decode_report
from django_q.cluster.ledger import NO_END, Entry, Ledger, Place
from django_q.cluster.lines import Line
from django_q.cluster.recovery import FOR_EVER, Recovery, forbid_former_parcels
from django_q.options import Options
from django_q.results import Record
from tests.unit.cluster.making import make_board

EPOCH = 5
OLD = 4
WORKER = 7


class Scene:
    """A pusher's recovery, and the far ends of all whom it speaks to."""

    def __init__(self, broker: Memory) -> None:
        self.broker = broker
        self.board = make_board()
        self.ledger = Ledger(EPOCH)
        control, self.sentinel = map(Line, Line.pair())
        self._lines = [control, self.sentinel]
        self.options = Options(max_deliveries=3)
        self.recovery = Recovery(self.ledger, self.board, control, self.options)
        self.monitor = self.new_monitor()

    def new_monitor(self) -> Line:
        ours, theirs = map(Line, Line.pair())
        self._lines += [ours, theirs]
        self.recovery.meet_monitor(ours)
        self.monitor = theirs
        return theirs

    def close(self) -> None:
        for line in self._lines:
            line.close()

    def lease(self, count: int) -> list[str]:
        """Let a former pusher fetch; gives the receipts."""
        for n in range(count):
            self.broker.enqueue(f"package {n}")
        return [d.receipt or "" for d in self.broker.dequeue(count)]

    def take(self, count: int) -> list[Entry]:
        """Fetch, and hand it to the worker."""
        self.recovery.is_under_way = False
        for n in range(count):
            self.broker.enqueue(f"package {n}")
        for delivery in self.broker.dequeue(count):
            self.ledger.take(delivery)
        return self.ledger.hand(WORKER, count)

    def show(
        self, number: int, receipt: str, state: State, worker: int = WORKER
    ) -> Row:
        """What a living worker has on the board."""
        row = self.board.rows[worker % 4]
        row.belongs_to(worker, 1234)
        row[Cell.NUMBER], row[Cell.KEY] = number, mark_of(receipt)
        row[Cell.TURN] = Turn(number, state, 0).pack()
        return row

    def advance(self, *keys: str, greeted: tuple[int, ...] = ()) -> None:
        """Let it ask; the monitor answers that it has these."""
        self.recovery.advance(self.broker)
        if Kind.LIST in {frame.kind for frame in self.monitor.receive()}:
            self.recovery.listed(list(map(mark_of, keys)), greeted)
            self.recovery.advance(self.broker)

    def die(self, entry: Entry | None, cause: str = "lost", **changes: Any) -> None:
        begun = [(entry.number, entry.mark, False)] if entry else []
        number = entry.number if entry else 0
        facts = {
            "generation": WORKER,
            "number": number,
            "begun": begun,
            "cause": cause,
            "culprit": number,
            "text": "Its worker died.",
        }
        self.recovery.bury(facts | changes)

    def judge(self, *numbers: int) -> None:
        """The monitor says what had come from the dead worker."""
        assert [f.kind for f in self.monitor.receive()] == [Kind.FINISH]
        self.recovery.testify(WORKER, list(numbers))
        assert self.recovery.rest == 0.0
        self.recovery.advance(self.broker)

    def places(self) -> dict[str, Place]:
        return {entry.receipt: entry.place for entry in self.ledger.entries.values()}

    def is_buried(self) -> bool:
        return self.sentinel.receive() == [Frame(Kind.BURIED, b'{"generation":7}')]


@pytest.fixture
def scene(q_settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(module, "ASK_AGAIN", 0.0)
    q_settings(broker_class="django_q.brokers.memory.Memory")
    broker = Memory(f"q{uuid4().hex[:8]}")
    broker.enlist("1" * 32, 30)
    scene = Scene(broker)
    yield scene
    scene.close()
    broker.delete_queue()


# -- a new pusher


def test_former_parcels_are_forbidden() -> None:
    board = make_board()
    forbid_former_parcels(board, EPOCH)
    assert board[Word.EPOCH] == EPOCH
    last_of_old, first_of_new = number_of(OLD, 2**48 - 1), number_of(EPOCH, 0)
    assert all(last_of_old <= row[Cell.VOID] < first_of_new for row in board.rows)


def test_nothing_was_leased(scene: Scene) -> None:
    phases = [scene.recovery.is_under_way]
    scene.advance()
    phases.append(scene.recovery.is_under_way)
    assert phases == [True, False]
    assert scene.recovery.rest == FOR_EVER


def test_everything_that_was_leased_is_placed(scene: Scene) -> None:
    running, arrived, kept = scene.lease(3)
    row = scene.show(number_of(OLD, 9), running, State.RUNNING)
    row[Cell.KEPT] = 1
    scene.advance(arrived, greeted=())
    assert scene.places() == {
        running: Place.HANDED,
        arrived: Place.ARRIVED,
        kept: Place.PARKED,
    }
    assert list(scene.ledger.hands[WORKER]) == [number_of(OLD, 9)]
    assert not scene.recovery.is_under_way
    assert scene.recovery.rest == 0.0


def test_parked_is_given_out_once_all_have_said_what_they_keep(scene: Scene) -> None:
    (receipt,) = scene.lease(1)
    scene.show(number_of(OLD, 9), "other", State.IDLE)[Cell.KEPT] = 1
    scene.advance()
    assert scene.places() == {receipt: Place.PARKED}
    scene.advance(greeted=(WORKER,))
    assert scene.places() == {receipt: Place.FREE}
    assert scene.recovery.rest == FOR_EVER


def test_parked_whose_end_comes_is_settled(scene: Scene) -> None:
    (receipt,) = scene.lease(1)
    scene.show(number_of(OLD, 9), receipt, State.IDLE)[Cell.KEPT] = 1
    scene.advance()
    scene.advance(receipt, greeted=(WORKER,))
    assert scene.places() == {receipt: Place.PARKED}
    scene.ledger.settle([receipt])
    assert scene.recovery.rest == FOR_EVER


def test_word_of_the_monitor_beats_that_of_the_board(scene: Scene) -> None:
    (receipt,) = scene.lease(1)
    scene.show(number_of(OLD, 9), receipt, State.RUNNING)
    scene.advance(receipt)
    assert scene.places() == {receipt: Place.ARRIVED}


def test_of_two_rows_the_later_number_is_the_true_one(scene: Scene) -> None:
    (receipt,) = scene.lease(1)
    scene.show(number_of(OLD, 3), receipt, State.OPENING, worker=9)
    scene.show(number_of(OLD, 8), receipt, State.RUNNING, worker=6)
    scene.advance()
    assert list(scene.ledger.hands) == [6]


def test_monitor_is_not_asked_again_before_it_answered(scene: Scene) -> None:
    scene.lease(1)
    for _ in range(3):
        scene.recovery.advance(scene.broker)
    assert [frame.kind for frame in scene.monitor.receive()] == [Kind.LIST]
    assert scene.recovery.rest == FOR_EVER


def test_question_to_a_dead_monitor_is_asked_anew(scene: Scene) -> None:
    scene.lease(1)
    scene.recovery.advance(scene.broker)
    scene.new_monitor()
    scene.recovery.advance(scene.broker)
    assert [frame.kind for frame in scene.monitor.receive()] == [Kind.LIST]


def test_worker_that_died_after_the_question_had_to_greet_all_the_same(
    scene: Scene,
) -> None:
    (receipt,) = scene.lease(1)
    row = scene.show(number_of(OLD, 9), receipt, State.IDLE)
    row[Cell.KEPT] = 1
    scene.recovery.advance(scene.broker)
    scene.die(None)
    row.clear()
    scene.recovery.listed([], [])
    scene.recovery.advance(scene.broker)
    assert scene.places() == {receipt: Place.PARKED}
    scene.advance()
    assert scene.places() == {receipt: Place.FREE}


def test_parcel_that_a_worker_dropped_unheard_is_missed(scene: Scene) -> None:
    (receipt,) = scene.lease(1)
    scene.show(number_of(OLD, 9), receipt, State.OPENING)
    scene.advance()
    assert scene.places() == {receipt: Place.HANDED}
    scene.show(number_of(OLD, 9), receipt, State.IDLE)
    assert scene.recovery.rest == 0.0
    scene.advance()
    assert scene.places() == {receipt: Place.FREE}


# -- deaths


def test_death_of_one_that_had_nothing(scene: Scene) -> None:
    scene.recovery.is_under_way = False
    scene.die(None)
    assert scene.is_buried()
    assert scene.monitor.receive() == []


def test_lost_task_starts_again_counted(scene: Scene) -> None:
    first, second = scene.take(2)
    scene.die(first)
    scene.judge()
    (again,) = [e for e in scene.ledger.free if e.delivery.starts]
    assert again.delivery.package == first.delivery.package
    assert (again.delivery.starts, again.delivery.deliveries) == (1, 2)
    assert again.text == "Its worker died."
    assert first.receipt not in scene.ledger.entries
    assert list(scene.ledger.free) == [again, second]
    assert scene.is_buried()


def test_recorded_end_wins(scene: Scene) -> None:
    (entry,) = scene.take(1)
    scene.die(entry)
    scene.judge(entry.number)
    assert entry.place is Place.ARRIVED
    assert scene.is_buried()


def test_end_that_is_recorded_nowhere_runs_again_uncounted(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = scene.take(2)
    scene.die(second)
    scene.judge(second.number)
    assert scene.places()[first.receipt] is Place.FREE
    assert (first.text, first.delivery.starts) == (NO_END, 0)
    told = "1 tasks had ended, but were not recorded: they run again"
    assert told in caplog.messages


def test_overdue_task_is_concluded(scene: Scene) -> None:
    (entry,) = scene.take(1)
    scene.die(entry, "timed out", text="Ran past its limit.")
    scene.judge()
    assert list(scene.ledger.free) == [entry]
    assert (entry.errand, entry.cause) == (Errand.CONCLUDE, "timed out")
    assert (entry.text, entry.delivery.starts) == ("Ran past its limit.", 0)
    assert scene.board[Word.CONCLUDING] == 1
    assert scene.ledger.to_run == []
    assert scene.is_buried()
    scene.recovery.settle(scene.broker, [entry.receipt], [])
    assert (scene.board[Word.HELD], scene.board.done_with()) == (1, (1, 0))
    scene.recovery.advance(scene.broker)
    assert (scene.board[Word.HELD], scene.board[Word.CONCLUDING]) == (0, 0)


def test_innocent_task_starts_again_uncounted(scene: Scene) -> None:
    (entry,) = scene.take(1)
    scene.die(entry, "innocent")
    scene.judge()
    assert list(scene.ledger.free) == [entry]
    assert (entry.errand, entry.delivery.starts) == (Errand.EXECUTE, 0)
    assert entry.text == "Its worker died."


def test_stopped_task_goes_back_to_the_broker(scene: Scene) -> None:
    (entry,) = scene.take(1)
    scene.die(entry, "stopped")
    scene.judge()
    scene.recovery.show()
    scene.recovery.show()
    assert scene.places() == {}
    assert scene.broker.queue_size() == 1
    assert scene.broker.held() == []
    assert scene.board.done_with() == (0, 1)
    assert scene.board[Word.HELD] == 0


def test_package_that_ends_every_worker_that_opens_it_is_refused(scene: Scene) -> None:
    (entry,) = scene.take(1)
    entry.delivery = entry.delivery._replace(starts=2)
    scene.die(entry, begun=[(entry.number, entry.mark, True)])
    scene.judge()
    (frame,) = scene.monitor.receive()
    report = decode_report(frame.body)
    record = Record.from_bytes(report.record)
    assert (frame.kind, report.receipt) == (Kind.RECORD, entry.receipt)
    assert not record.success
    assert record.keep
    assert entry.place is Place.ARRIVED


def test_task_whose_lease_is_lost_is_forgotten(scene: Scene) -> None:
    first, second = scene.take(2)
    scene.broker.acknowledge_many([first.receipt, second.receipt])
    scene.die(second)
    scene.judge()
    assert scene.places() == {}
    assert scene.is_buried()


def test_broker_that_fails_is_asked_again_and_nothing_is_forgotten(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = scene.take(1)
    scene.die(entry)
    with monkeypatch.context() as broken:
        broken.setattr(scene.broker, "redeliver", _raise)
        with pytest.raises(ConnectionError):
            scene.judge()
        assert list(scene.ledger.entries) == [entry.receipt]
    scene.recovery.advance(scene.broker)
    (again,) = scene.ledger.free
    assert again.delivery.starts == 1
    assert scene.is_buried()


def _raise(*_arguments: object) -> None:
    raise ConnectionError


def test_what_an_unheard_answer_brought_is_taken(scene: Scene) -> None:
    [known] = scene.take(1)
    [stray] = scene.lease(1)
    assert scene.recovery.take_strays(scene.broker, at_once=True)
    assert scene.places() == {known.receipt: Place.HANDED, stray: Place.FREE}
    assert not scene.recovery.take_strays(scene.broker, at_once=True)


def test_what_a_broker_did_late_is_taken_at_the_second_look(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood still, and does what it was asked when nobody listens any more."""
    [known] = scene.take(1)
    moment = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: moment[0])
    assert not scene.recovery.take_strays(scene.broker, at_once=True)
    [stray] = scene.lease(1)
    assert not scene.recovery.take_strays(scene.broker, at_once=False)
    moment[0] = 30.0
    assert scene.recovery.take_strays(scene.broker, at_once=False)
    assert scene.places() == {known.receipt: Place.HANDED, stray: Place.FREE}
    scene.lease(1)
    assert not scene.recovery.take_strays(scene.broker, at_once=False)


def test_former_leases_are_no_strays(scene: Scene) -> None:
    scene.lease(1)
    assert not scene.recovery.take_strays(scene.broker, at_once=True)
    assert scene.places() == {}


def test_new_monitor_is_asked_about_all_deaths(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = scene.take(1)
    scene.die(entry)
    with monkeypatch.context() as broken:
        broken.setattr(scene.broker, "redeliver", _raise)
        with pytest.raises(ConnectionError):
            scene.judge()
    scene.recovery.testify(WORKER, [entry.number])
    scene.new_monitor()
    scene.recovery.advance(scene.broker)
    assert entry.place is Place.DOUBTFUL
    scene.judge()
    assert [e.delivery.starts for e in scene.ledger.free] == [1]


def test_death_is_judged_after_the_leases_of_the_former_pusher_are_known(
    scene: Scene,
) -> None:
    (receipt,) = scene.lease(1)
    scene.show(number_of(OLD, 9), receipt, State.RUNNING)
    number = number_of(OLD, 9)
    scene.die(None, number=number, begun=[(number, mark_of(receipt), False)])
    scene.new_monitor()
    assert scene.monitor.receive() == []
    scene.advance()
    assert scene.places() == {receipt: Place.DOUBTFUL}
    scene.judge(number_of(OLD, 9))
    assert scene.places() == {receipt: Place.ARRIVED}
