"""Taking back parcels from a worker that does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from django_q.brokers import Broker, Delivery
from django_q.cluster import hands
from django_q.cluster.board import Cell, State, Turn, Word
from django_q.cluster.hands import Hand
from django_q.cluster.ledger import Entry
from django_q.cluster.trouble import Trouble
from tests.unit.cluster.actors import StepwisePusher, lone_pusher

WORKER = 7


@pytest.fixture
def pusher(monkeypatch: pytest.MonkeyPatch) -> StepwisePusher:
    monkeypatch.setattr(hands, "sleep", lambda _pause: None)
    return lone_pusher()


def give(pusher: StepwisePusher, count: int) -> tuple[Hand, list[Entry]]:
    """A worker that has so many parcels, and has begun none."""
    row = pusher.board.rows[0]
    hand = Hand(WORKER, row, pusher.control)
    for n in range(count):
        pusher.ledger.take(Delivery(f"{n}:1", str(n)))
    return hand, pusher.ledger.hand(WORKER, count)


def show(hand: Hand, number: int, state: State) -> None:
    hand.row[Cell.TURN] = Turn(number, state, 0).pack()


def begin(hand: Hand, entry: Entry) -> None:
    hand.row[Cell.NUMBER] = entry.number
    show(hand, entry.number, State.RUNNING)


def test_what_was_not_begun_comes_back(pusher: StepwisePusher) -> None:
    hand, entries = give(pusher, 3)
    begin(hand, entries[0])
    assert pusher.take_back(hand) == entries[1:]
    assert hand.row[Cell.VOID] == entries[2].number


def test_nothing_to_take_back(pusher: StepwisePusher) -> None:
    hand, _entries = give(pusher, 0)
    assert pusher.take_back(hand) == []
    assert hand.row[Cell.VOID] == 0


def test_void_only_grows(pusher: StepwisePusher) -> None:
    hand, entries = give(pusher, 3)
    begin(hand, entries[0])
    pusher.take_back(hand)
    assert pusher.take_back(hand) == []
    assert hand.row[Cell.VOID] == entries[2].number


def test_hook_of_a_forgotten_task_hides_nothing(pusher: StepwisePusher) -> None:
    hand, entries = give(pusher, 3)
    begin(hand, entries[1])
    pusher.ledger.settle([entries[0].receipt])
    show(hand, entries[0].number, State.FINISHING)
    assert pusher.take_back(hand) == entries[2:]


def test_parcel_of_which_only_the_number_is_written_counts_as_begun(
    pusher: StepwisePusher,
) -> None:
    hand, entries = give(pusher, 2)
    hand.row[Cell.NUMBER] = entries[0].number
    assert pusher.take_back(hand) == entries[1:]


def test_worker_that_will_retire_gets_no_more_than_it_runs(
    pusher: StepwisePusher,
) -> None:
    hand = Hand(WORKER, pusher.board.rows[0], pusher.control, recycle=3)
    pusher.recovery.is_under_way = False
    pusher.hands[WORKER] = hand
    for n in range(5):
        pusher.ledger.take(Delivery(f"{n}:1", str(n)))
    pusher.hand_over()
    assert len(pusher.ledger.hands[WORKER]) == 3
    assert len(pusher.take_back(hand)) == 3
    pusher.hand_over()
    assert len(pusher.ledger.hands[WORKER]) == 3
    assert len(pusher.ledger.free) == 2


def test_stop_gives_back_what_is_to_run_and_hands_over_what_is_to_be_concluded(
    pusher: StepwisePusher,
) -> None:
    busy, clerk = (
        Hand(WORKER + n, pusher.board.rows[n], pusher.control) for n in range(2)
    )
    pusher.hands = {hand.generation: hand for hand in (busy, clerk)}
    pusher.recovery.is_under_way = False
    runs, overdue = (pusher.ledger.take(Delivery(f"{n}:1", str(n))) for n in range(2))
    show(busy, 1, State.RUNNING)
    pusher.ledger.concluding.add(overdue.receipt)
    pusher.broker = broker = Witness()
    pusher.is_stopping = pusher.has_given_back = True
    pusher.hand_over()
    assert list(pusher.ledger.free) == [runs, overdue]
    pusher.wind_down()
    assert broker.told == [("free", [runs.receipt])]
    assert list(pusher.ledger.entries.values()) == [overdue]
    assert overdue.worker == clerk.generation


class OneAtATime(Broker):
    """Gives no receipts, and fails once when the second package comes."""

    def __init__(self) -> None:
        super().__init__("shop")
        self.packages: list[str] = []
        self.fails = True

    def enqueue(self, package: str, **_facts: object) -> None:
        if self.packages and self.fails:
            self.fails = False
            raise ConnectionError
        self.packages.append(package)


def test_what_went_back_before_an_error_goes_back_once(pusher: StepwisePusher) -> None:
    pusher.broker = broker = OneAtATime()
    pusher.trouble = Trouble()
    for package in "abc":
        pusher.ledger.take(Delivery(None, package))
    while pusher.ledger.free:
        pusher._give_back(list(pusher.ledger.free))  # noqa: SLF001
    assert broker.packages == ["a", "b", "c"]
    assert not pusher.ledger.entries


class Witness(Broker):
    """Remembers what it was told, in order."""

    supports_leases = True

    def __init__(self, fails: int = 0) -> None:
        super().__init__("shop")
        self.told: list[tuple[str, list[str]]] = []
        self.fails = fails

    def mark_started(self, receipts: Sequence[str]) -> None:
        self.told.append(("started", list(receipts)))

    def release(self, receipts: Sequence[str], **_how: object) -> set[str]:
        self.told.append(("free", list(receipts)))
        if self.fails:
            self.fails -= 1
            raise ConnectionError
        return set(receipts)


def test_what_goes_back_and_has_started_is_known_to_have(
    pusher: StepwisePusher,
) -> None:
    pusher.broker = broker = Witness()
    pusher.trouble = Trouble()
    new, unrecorded, counted = (
        pusher.ledger.take(Delivery(f"{n}:1", str(n), 1, starts))
        for n, starts in enumerate([0, 0, 1])
    )
    unrecorded.text = counted.text = "No end of it was recorded."
    pusher._give_back([new, unrecorded, counted])  # noqa: SLF001
    assert broker.told == [
        ("started", [unrecorded.receipt]),
        ("free", [new.receipt, unrecorded.receipt, counted.receipt]),
    ]


def test_what_goes_back_at_the_second_try_has_started_once(
    pusher: StepwisePusher,
) -> None:
    pusher.broker = broker = Witness(fails=1)
    pusher.trouble = Trouble()
    entry = pusher.ledger.take(Delivery("1:1", "1", 1, 0))
    entry.text = "No end of it was recorded."
    for _try in range(2):
        pusher._give_back([entry])  # noqa: SLF001
    assert [verb for verb, _receipts in broker.told] == ["started", "free", "free"]


class Broken(Broker):
    """Can't be closed, and refuses everything."""

    tries = 0

    def close(self) -> None:
        raise ValueError

    def renew(self, receipts: object) -> set[str]:
        self.tries += 1
        raise ConnectionError


def test_broker_that_can_not_be_closed_does_not_end_the_stop(
    pusher: StepwisePusher,
) -> None:
    pusher.broker = Broken("shop")
    pusher.has_given_back = False
    pusher.wind_down()
    assert pusher.has_given_back


def test_frames_do_not_shorten_the_rest_after_trouble(
    pusher: StepwisePusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    pusher.broker = broker = Broken("shop")
    broker.supports_leases = True
    pusher.trouble = Trouble(1000, 1000)
    pusher.recovery.is_under_way = False
    pusher.next_renewal = 0.0
    hand, _entries = give(pusher, 1)
    pusher.hands[WORKER] = hand
    monkeypatch.setattr(pusher, "collect", lambda: None)
    for _frame in range(5):
        pusher.turn()
    assert broker.tries == 1


class Overtaken(Broker):
    """Others have everything by now, or nobody has."""

    supports_leases = True
    is_there = True

    def has(self, receipt: str) -> bool:
        return self.is_there

    def renew(self, receipts: Sequence[str]) -> set[str]:
        return set()


def let_lapse(pusher: StepwisePusher) -> None:
    pusher.recovery.is_under_way = False
    pusher.board[Word.BIRTH] -= 1000
    pusher.board[Word.LEASE_UNTIL] = pusher.board.now() - 1


def test_what_others_have_is_taken_back_before_the_lease_stands_again(
    pusher: StepwisePusher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as it stands, workers begin what they have in hand."""
    pusher.broker, pusher.lease, pusher.next_renewal = Overtaken("shop"), 30.0, 0.0
    hand, _entries = give(pusher, 2)
    pusher.hands[WORKER] = hand
    let_lapse(pusher)
    lapsed = []
    monkeypatch.setattr(
        hands, "sleep", lambda _pause: lapsed.append(pusher.board.lease_has_lapsed)
    )
    pusher.renew()
    assert lapsed == [True]
    assert not pusher.board.lease_has_lapsed
    assert not pusher.ledger.entries


@pytest.mark.parametrize(
    ("is_there", "said"), [(False, []), (True, ["pusher: lease lost for 1 tasks"])]
)
def test_begun_task_is_lost_to_others_only_if_these_have_it(
    pusher: StepwisePusher, caplog: pytest.LogCaptureFixture, is_there: bool, said: Any
) -> None:
    """A worker removes an atomic task itself, and the news of that may take long."""
    broker = Overtaken("shop")
    broker.is_there = is_there
    pusher.broker, pusher.lease = broker, 30.0
    hand, entries = give(pusher, 1)
    pusher.hands[WORKER] = hand
    pusher.recovery.is_under_way = False
    begin(hand, entries[0])
    for _ in range(2):
        assert pusher.ledger.entries
        pusher.next_renewal = 0.0
        pusher.renew()
    assert not pusher.ledger.entries
    assert caplog.messages == said


def test_nothing_is_handed_over_that_could_not_be_started(
    pusher: StepwisePusher,
) -> None:
    """Workers would send it back at once, again and again."""
    hand, _entries = give(pusher, 0)
    pusher.hands[WORKER] = hand
    pusher.ledger.take(Delivery("9:1", "late"))
    let_lapse(pusher)
    pusher.hand_over()
    assert pusher.ledger.free
    pusher.board[Word.LEASE_UNTIL] = 2**63
    pusher.hand_over()
    assert not pusher.ledger.free
