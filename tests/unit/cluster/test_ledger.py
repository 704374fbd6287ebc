"""Ledger: who holds which package."""

from __future__ import annotations

import pytest

from django_q.brokers import Delivery
from django_q.cluster.board import Begun, mark_of, number_of
from django_q.cluster.frames import Errand
from django_q.cluster.ledger import (
    CLUSTER_DIED,
    WORKER_DIED,
    Death,
    Entry,
    Ledger,
    Place,
)

EPOCH = 3


def make_ledger(packages: int = 0) -> Ledger:
    ledger = Ledger(EPOCH)
    for n in range(packages):
        ledger.take(Delivery(f"{n}:1", f"package {n}"))
    return ledger


def death_of(worker: int, entry: Entry, *, running: bool = True) -> Death:
    """The death of a worker that began this entry last."""
    return Death(
        generation=worker,
        number=entry.number,
        begun=[Begun(entry.number, entry.mark, False)] if running else [],
        cause="lost",
        culprit=0,
        text="Its worker died.",
    )


def receipts(entries: object) -> list[str]:
    return [entry.receipt for entry in entries]  # type: ignore[attr-defined]


# -- taking and handing


def test_what_is_taken_is_free() -> None:
    ledger = make_ledger(3)
    assert receipts(ledger.free) == ["0:1", "1:1", "2:1"]
    assert receipts(ledger.entries.values()) == ["0:1", "1:1", "2:1"]
    assert {e.place for e in ledger.free} == {Place.FREE}


def test_what_comes_again_goes_out_first() -> None:
    ledger = make_ledger(2)
    ledger.take(Delivery("9:2", "again"), first=True)
    assert receipts(ledger.free) == ["9:2", "0:1", "1:1"]


def test_what_is_here_is_not_taken_again_from_one_who_may_bring_it_twice() -> None:
    again, other = Delivery("0:2", "package 0", 2), Delivery("1:1", "package 1")
    ledger = make_ledger(1)
    ledger.take_all([again, other], once=True)
    assert receipts(ledger.free) == ["0:1", "1:1"]
    ledger.forget("0:1")
    ledger.take_all([again], once=True)
    assert receipts(ledger.free) == ["1:1", "0:2"]
    ledger.take_all([Delivery("0:3", "package 0", 3)], once=False)
    assert receipts(ledger.free) == ["1:1", "0:2", "0:3"]


def test_handing_gives_numbers_that_ascend() -> None:
    ledger = make_ledger(3)
    first, second = ledger.hand(7, 1), ledger.hand(8, 5)
    numbers = [entry.number for entry in first + second]
    assert numbers == [number_of(EPOCH, n) for n in (1, 2, 3)]
    assert receipts(second) == ["1:1", "2:1"]
    assert not ledger.free
    assert {e.place for e in first} == {Place.HANDED}
    assert list(ledger.hands[8].values()) == second


def test_nothing_is_handed_out_of_nothing() -> None:
    assert make_ledger().hand(7, 3) == []
    assert make_ledger(2).hand(7, 0) == []


def test_parcel_tells_all_that_the_worker_must_know() -> None:
    ledger = make_ledger()
    entry = ledger.take(Delivery("5:2", "sealed", 2, 1, 4))
    entry.errand, entry.cause, entry.text = Errand.CONCLUDE, "timed out", "Ran past."
    ledger.hand(7, 1)
    parcel = entry.as_parcel()
    assert (parcel.number, parcel.key) == (number_of(EPOCH, 1), mark_of("5:2"))
    assert (parcel.starts, parcel.attempts) == (1, 4)
    assert (parcel.errand, parcel.cause) == (Errand.CONCLUDE, "timed out")
    assert (parcel.text, parcel.receipt) == ("Ran past.", "5:2")
    assert parcel.package == "sealed"


@pytest.mark.parametrize(
    ("delivery", "suspect"),
    [
        (Delivery("1:1", "p"), False),
        (Delivery("1:1", "p", attempts=3), False),
        (Delivery("1:2", "p", deliveries=2), False),
        (Delivery("1:1", "p", starts=1), True),
        (Delivery("1:1", "p", rescues=1), True),
    ],
)
def test_delivery_that_may_have_ended_a_worker_is_suspect(
    delivery: Delivery, *, suspect: bool
) -> None:
    assert make_ledger().take(delivery).is_suspect is suspect


@pytest.mark.parametrize(
    ("delivery", "reason"),
    [
        (Delivery("1:1", "p"), ""),
        (Delivery("1:2", "p", deliveries=2, attempts=1), ""),
        (Delivery("1:2", "p", deliveries=2, starts=1), WORKER_DIED),
        (Delivery("1:2", "p", deliveries=2, rescues=1), CLUSTER_DIED),
        (Delivery("1:3", "p", deliveries=3, starts=1, rescues=1), CLUSTER_DIED),
    ],
)
def test_parcel_tells_why_it_starts_again(delivery: Delivery, reason: str) -> None:
    entry = make_ledger().take(delivery)
    assert entry.as_parcel().text == reason
    entry.text = "Its worker died by signal 9 (SIGKILL)."
    assert entry.as_parcel().text == entry.text


def test_each_delivery_may_be_a_start_where_nobody_counts_these() -> None:
    ledger = make_ledger()
    ledger.knows_starts = False
    first = ledger.take(Delivery("a", "p"))
    again = ledger.take(Delivery("b", "p", deliveries=2, attempts=1))
    assert first.as_parcel().text == ""
    assert again.as_parcel().text.startswith("Delivery 2: it failed before")


@pytest.mark.parametrize(
    ("delivery", "knows_starts", "errand"),
    [
        (Delivery("1:1", "p"), True, Errand.EXECUTE),
        (Delivery("1:2", "p", deliveries=2), True, Errand.EXECUTE),
        (Delivery("1:2", "p", deliveries=2), False, Errand.LOOK_FIRST),
        (Delivery("1:2", "p", deliveries=2, starts=1), True, Errand.LOOK_FIRST),
        (Delivery("1:2", "p", deliveries=2, rescues=1), True, Errand.LOOK_FIRST),
        (Delivery("1:2", "p", deliveries=2, attempts=1), True, Errand.LOOK_FIRST),
    ],
)
def test_what_was_only_given_back_is_not_looked_for_among_the_successes(
    delivery: Delivery, *, knows_starts: bool, errand: Errand
) -> None:
    ledger = make_ledger()
    ledger.knows_starts = knows_starts
    assert ledger.take(delivery).as_parcel().errand is errand


# -- taking back


def test_what_was_not_begun_comes_back_in_its_order_and_first() -> None:
    ledger = make_ledger(5)
    given = ledger.hand(7, 4)
    back = ledger.take_back(7, given[1].number)
    assert receipts(back) == ["2:1", "3:1"]
    assert receipts(ledger.free) == ["2:1", "3:1", "4:1"]
    assert receipts(ledger.hands[7].values()) == ["0:1", "1:1"]
    assert ledger.unstarted(7, given[1].number) == []


def test_what_comes_back_gets_a_later_number() -> None:
    ledger = make_ledger(1)
    (entry,) = ledger.hand(7, 1)
    former = entry.number
    ledger.take_back(7, former - 1)
    (again,) = ledger.hand(8, 1)
    assert again is entry
    assert entry.number > former
    assert ledger.hands[7] == {}


def test_unknown_worker_has_nothing() -> None:
    assert make_ledger(1).unstarted(99, 0) == []
    assert make_ledger(1).take_back(99, 0) == []


def test_dropped_parcel_is_free_again() -> None:
    ledger = make_ledger(2)
    first, second = ledger.hand(7, 2)
    ledger.drop(7, second.number)
    assert receipts(ledger.free) == ["1:1"]
    assert first.place is Place.HANDED


def test_dropped_parcel_that_a_renewal_did_not_find_is_with_others() -> None:
    """It looked begun then, so it was not given up at once."""
    ledger = make_ledger(1)
    (entry,) = ledger.hand(7, 1)
    assert ledger.find_lost([entry.receipt]) == []
    ledger.drop(7, entry.number)
    assert not ledger.free
    assert not ledger.entries


def test_dropped_is_matched_by_number_and_not_by_task() -> None:
    ledger = make_ledger(1)
    (entry,) = ledger.hand(7, 1)
    former = entry.number
    ledger.take_back(7, 0)
    ledger.hand(8, 1)
    ledger.drop(7, former)
    ledger.drop(8, former)
    assert entry.place is Place.HANDED
    assert not ledger.free


def test_dropped_of_an_earlier_epoch_is_parked() -> None:
    ledger = make_ledger(1)
    (entry,) = ledger.free
    ledger.put_in_hand(entry, number_of(EPOCH - 1, 5), 7)
    ledger.drop(7, entry.number)
    assert entry.place is Place.PARKED
    assert ledger.parked == [entry]
    assert ledger.hands[7] == {}


# -- from a former pusher


def test_worker_has_a_parcel_from_a_former_pusher() -> None:
    ledger = make_ledger(2)
    entry = ledger.entries["0:1"]
    ledger.put_in_hand(entry, number_of(EPOCH - 1, 5), 7)
    assert receipts(ledger.free) == ["1:1"]
    assert ledger.hands[7] == {number_of(EPOCH - 1, 5): entry}
    assert ledger.unstarted(7, entry.number) == []


@pytest.mark.parametrize("place", [Place.ARRIVED, Place.PARKED])
def test_entry_is_set_aside(place: Place) -> None:
    ledger = make_ledger(2)
    ledger.set_aside(ledger.entries["0:1"], place)
    assert receipts(ledger.free) == ["1:1"]
    assert ledger.entries["0:1"].place is place


def test_what_had_arrived_is_parked_when_the_monitor_is_another_one() -> None:
    ledger = make_ledger(3)
    ledger.set_aside(ledger.entries["0:1"], Place.ARRIVED)
    ledger.hand(7, 1)
    ledger.park_arrived()
    assert receipts(ledger.parked) == ["0:1"]


# -- deaths


def test_death_frees_what_was_not_begun_and_makes_the_rest_doubtful() -> None:
    ledger = make_ledger(4)
    given = ledger.hand(7, 4)
    doubtful = ledger.bury(death_of(7, given[1]))
    assert receipts(doubtful) == ["0:1", "1:1"]
    assert receipts(ledger.free) == ["2:1", "3:1"]
    assert {e.place for e in doubtful} == {Place.DOUBTFUL}


def test_death_of_one_that_had_nothing() -> None:
    ledger = make_ledger(1)
    assert ledger.bury(Death(7, 0, [], "lost", 0, "")) == []
    assert receipts(ledger.free) == ["0:1"]


def test_recorded_end_wins_over_the_death() -> None:
    ledger = make_ledger(2)
    first, second = ledger.hand(7, 2)
    death = death_of(7, second)
    ledger.bury(death)
    assert ledger.witness(death, [second.number]) == ([first], [])
    assert second.place is Place.ARRIVED


def test_running_task_is_told_from_ends_that_are_recorded_nowhere() -> None:
    ledger = make_ledger(3)
    first, second, third = ledger.hand(7, 3)
    death = death_of(7, third)
    ledger.bury(death)
    assert ledger.witness(death, [first.number]) == ([second], [third])
    assert 7 not in ledger.hands


def test_idle_worker_was_running_nothing() -> None:
    ledger = make_ledger(1)
    (entry,) = ledger.hand(7, 1)
    death = death_of(7, entry, running=False)
    ledger.bury(death)
    assert ledger.witness(death, []) == ([entry], [])


def test_only_entries_of_that_worker_are_judged() -> None:
    ledger = make_ledger(2)
    (first,), (second,) = ledger.hand(7, 1), ledger.hand(8, 1)
    deaths = [death_of(7, first), death_of(8, second)]
    for death in deaths:
        ledger.bury(death)
    assert ledger.witness(deaths[0], []) == ([], [first])
    assert second.place is Place.DOUBTFUL
    assert ledger.witness(deaths[1], []) == ([], [second])


def test_parked_entry_that_the_dead_worker_ran_is_doubtful() -> None:
    ledger = make_ledger(2)
    for entry in list(ledger.free):
        ledger.set_aside(entry, Place.PARKED)
    ran = ledger.entries["1:1"]
    number = number_of(EPOCH - 1, 4)
    death = Death(7, number, [Begun(number, ran.mark, False)], "lost", 0, "")
    assert ledger.bury(death) == [ran]
    assert receipts(ledger.parked) == ["0:1"]


def test_end_of_a_parked_entry_that_came_is_recognised() -> None:
    ledger = make_ledger(1)
    (entry,) = ledger.free
    ledger.set_aside(entry, Place.PARKED)
    number = number_of(EPOCH - 1, 4)
    death = Death(7, number, [Begun(number, entry.mark, False)], "lost", 0, "")
    ledger.bury(death)
    assert ledger.witness(death, [number]) == ([], [])
    assert entry.place is Place.ARRIVED


def test_what_a_witness_found_is_found_again_until_it_is_dealt_with() -> None:
    ledger = make_ledger(2)
    first, second = ledger.hand(7, 2)
    death = death_of(7, second)
    ledger.bury(death)
    assert ledger.witness(death, []) == ledger.witness(death, []) == ([first], [second])


def test_entry_whose_lease_stands_goes_out_before_others() -> None:
    ledger = make_ledger(3)
    (entry,) = ledger.hand(7, 1)
    death = death_of(7, entry)
    ledger.bury(death)
    ledger.witness(death, [])
    ledger.free_again(entry)
    assert receipts(ledger.free) == ["0:1", "1:1", "2:1"]
    assert entry.place is Place.FREE


# -- forgetting


def test_what_a_worker_has_is_lost_when_it_was_missed_twice() -> None:
    ledger = make_ledger(2)
    ledger.hand(7, 1)
    assert ledger.find_lost(["0:1", "1:1", "unknown"]) == ["1:1"]
    assert ledger.find_lost(["0:1"]) == ["0:1"]


def test_settled_entries_are_gone_wherever_they_were() -> None:
    ledger = make_ledger(4)
    ledger.hand(7, 2)
    ledger.set_aside(ledger.entries["2:1"], Place.ARRIVED)
    ledger.settle(["0:1", "2:1", "3:1", "unknown"])
    assert receipts(ledger.entries.values()) == ["1:1"]
    assert receipts(ledger.hands[7].values()) == ["1:1"]
    assert not ledger.free


def test_forgotten_entry_that_had_come_back_leaves_nothing() -> None:
    ledger = make_ledger(1)
    ledger.hand(7, 1)
    ledger.take_back(7, 0)
    ledger.forget("0:1")
    ledger.forget("0:1")
    assert (ledger.entries, list(ledger.free), ledger.hands) == ({}, [], {7: {}})
