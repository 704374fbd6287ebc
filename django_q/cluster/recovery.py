"""Recovery: what the pusher does about dead workers, monitors and former pushers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic, sleep
from typing import Any, Final

from django_q import results
from django_q.brokers import Broker
from django_q.cluster.board import (
    NOT_IDLE,
    VOID_PAUSE,
    Board,
    Cell,
    Row,
    Word,
    number_of,
)
from django_q.cluster.frames import (
    UNRECEIPTED,
    Errand,
    Kind,
    Report,
    control,
    encode_report,
)
from django_q.cluster.ledger import BESIDE, NO_END, Death, Entry, Ledger, Place
from django_q.cluster.lines import Line
from django_q.exceptions import PackageLocked
from django_q.logs import logger
from django_q.options import Options

ASK_AGAIN: Final = 0.3
"""Seconds between two questions to the monitor while something is unclear."""

JUDGED_AT_ONCE: Final = 200
"""Tasks of one dead worker of which the broker is told before anything else is done."""

FOR_EVER: Final = 1e9


class Recovery:
    """Duties: 1. on start, find what the former pusher had leased; 2. bury workers, with
    the monitor as second witness; 3. give out again what nobody ended.

    A task only moves downstream. So the board is read first, the monitor is asked next
    and the broker last: whatever moved meanwhile shows up further down, not nowhere.
    """

    def __init__(
        self, ledger: Ledger, board: Board, control_line: Line, options: Options
    ) -> None:
        self._ledger = ledger
        self._board = board
        self._control = control_line
        self._options = options
        self._monitor: Line | None = None
        self._deaths: dict[int, Death] = {}
        self._testimonies: list[tuple[int, list[int]]] = []
        self._board_said: dict[int, tuple[int, int]] | None = None
        self._keeping: set[int] = set()
        self._inherited: dict[int, Entry] = {}
        self._listed: tuple[set[int], set[int]] | None = None
        self._asked = 0.0
        self._look_again = FOR_EVER
        self.is_under_way = True

    @property
    def rest(self) -> float:
        """Seconds until there is something to do without being called."""
        if self._testimonies:
            return 0.0
        is_asked = self._board_said is not None
        if is_asked or not (self._is_unclear or self._inherited):
            return FOR_EVER
        return max(0.0, self._asked + ASK_AGAIN - monotonic())

    @property
    def _is_unclear(self) -> bool:
        """Something may be nowhere: the monitor must be asked."""
        return self.is_under_way or bool(self._ledger.parked)

    # -- what others say

    def meet_monitor(self, line: Line) -> None:
        """A new monitor: what the former one had is with nobody, or is sent again."""
        self._monitor = line
        self._board_said = None
        self._testimonies.clear()
        self._ledger.park_arrived()
        if not self.is_under_way:
            for generation in self._deaths:
                line.send(control(Kind.FINISH, generation=generation))

    def bury(self, facts: dict[str, Any]) -> None:
        """The sentinel says that a worker died."""
        death = Death.told(facts)
        self._deaths[death.generation] = death
        if not self.is_under_way:
            self._ask_for_last_words(death)

    def testify(self, generation: int, numbers: list[int]) -> None:
        """The monitor says what had come from a dead worker."""
        self._testimonies.append((generation, numbers))

    def listed(self, keys: Iterable[int], greeted: Iterable[int]) -> None:
        """The monitor says what it has, and which workers sent it all they keep."""
        self._listed = set(keys), set(greeted)

    def settle(self, broker: Broker, receipts: list[str], done: list[str]) -> None:
        """The monitor has saved these, and is done with most of them."""
        before = len(self._ledger.entries)
        self._ledger.settle(receipts)
        self._board[Word.FINISHED] += before - len(self._ledger.entries)
        broker.settle(done)

    # -- what follows

    def advance(self, broker: Broker) -> None:
        """Do what can be done now. Raises what the broker raises; then call again."""
        self.show()
        while self._testimonies:
            generation, numbers = self._testimonies[0]
            if not self._judge(broker, generation, numbers):
                # The leases must be renewed meanwhile.
                return
            self._testimonies.pop(0)
        if self._board_said is not None:
            if self._listed is not None:
                self._reconcile(broker, *self._listed)
        elif self.rest <= 0:
            self._asked = monotonic()
            self._park_dropped()
            self._ask(broker)

    def take_strays(self, broker: Broker, *, at_once: bool) -> bool:
        """Take what is ours without our knowing: an answer of the broker was lost.

        True if there was any: nobody knows how old its lease is. Looks `at_once`, after
        trouble, and once more later: a server that stood still may do then what it was
        asked before. Raises what the broker raises.
        """
        now = monotonic()
        if self.is_under_way or not (at_once or now >= self._look_again):
            return False
        self._look_again = now + self._options.lease / 3 if at_once else FOR_EVER
        known = self._ledger.entries
        strays = [d for d in broker.held() if str(d.receipt) not in known]
        for delivery in strays:
            self._ledger.take(delivery)
        return bool(strays)

    def _ask(self, broker: Broker) -> None:
        """Nothing held, nothing to recover; else read the board, and only then ask.

        Not again before the answer: it would tell of a time before the second reading.
        """
        if self.is_under_way and not broker.held():
            self._end()
        elif self._is_unclear and self._monitor is not None:
            self._listed = None
            self._board_said = self._running_now()
            self._keeping = {r.generation for r in self._living_rows() if r[Cell.KEPT]}
            self._monitor.send(control(Kind.LIST))

    def _running_now(self) -> dict[int, tuple[int, int]]:
        """Mark of what runs -> (number, worker). Of two rows the later number is true."""
        running: dict[int, tuple[int, int]] = {}
        for row in self._living_rows():
            for begun in row.begun(NOT_IDLE):
                seen = (begun.number, row.generation)
                running[begun.key] = max(seen, running.get(begun.key, (0, 0)))
        return running

    def _park_dropped(self) -> None:
        """What a worker had from a former pusher, and does not run any more, is parked:
        that it was dropped was perhaps told to that pusher, or to us too early.
        """
        if not self._inherited:
            return
        running = self._running_now()
        for number, entry in list(self._inherited.items()):
            if entry.place is not Place.HANDED or entry.number != number:
                del self._inherited[number]
            elif running.get(entry.mark) != (number, entry.worker):
                self._ledger.drop(entry.worker, number)

    def _living_rows(self) -> list[Row]:
        rows = self._board.rows
        return [r for r in rows if r.pid and r.generation not in self._deaths]

    def _reconcile(self, broker: Broker, arrived: set[int], greeted: set[int]) -> None:
        """Board and monitor have spoken; the broker has the last word."""
        running, self._board_said = self._board_said or {}, None
        self._listed = None
        everyone_spoke = greeted.issuperset(self._keeping)
        if self.is_under_way:
            for delivery in broker.held():
                entry = self._ledger.take(delivery)
                self._place(entry, running.get(entry.mark), arrived)
            self._end()
        lost_track = [e for e in self._ledger.parked if e.mark not in arrived]
        if everyone_spoke and lost_track:
            for entry in lost_track:
                entry.delivery = entry.delivery._replace(rescues=1)
                entry.text = NO_END
            self._give_out_again(broker, lost_track)
            logger.warning(
                "%s tasks had no recorded end: they run again", len(lost_track)
            )

    def _place(
        self, entry: Entry, running: tuple[int, int] | None, arrived: set[int]
    ) -> None:
        """Where a lease of the former pusher is now."""
        if entry.mark in arrived:
            self._ledger.set_aside(entry, Place.ARRIVED)
        elif running is not None:
            self._ledger.put_in_hand(entry, *running)
            self._inherited[entry.number] = entry
        else:
            self._ledger.set_aside(entry, Place.PARKED)

    def _end(self) -> None:
        self.is_under_way = False
        for death in list(self._deaths.values()):
            self._ask_for_last_words(death)

    def _ask_for_last_words(self, death: Death) -> None:
        if not self._ledger.bury(death):
            self._buried(death)
        elif self._monitor is not None:
            self._monitor.send(control(Kind.FINISH, generation=death.generation))

    def _buried(self, death: Death) -> None:
        self._deaths.pop(death.generation, None)
        # Before the sentinel hears of it: at a stop it waits for one or the other.
        self.show()
        self._control.send(control(Kind.BURIED, generation=death.generation))

    def show(self) -> None:
        """Tell the board how much is not done with."""
        ledger, board = self._ledger, self._board
        board[Word.CONCLUDING] = len(ledger.concluding)
        board[Word.HELD] = len(ledger.entries) + ledger.left
        board[Word.RETURNED] += ledger.returned
        ledger.returned = 0

    def _judge(self, broker: Broker, generation: int, numbers: list[int]) -> bool:
        """Both witnesses have spoken about a death. False: that is not all."""
        death = self._deaths.get(generation)
        if death is None:
            return True
        unrecorded, running = self._ledger.witness(death, numbers)
        if unrecorded:
            for entry in unrecorded:
                entry.text = NO_END
            self._give_out_again(broker, unrecorded)
            text = "%s tasks had ended, but were not recorded: they run again"
            logger.warning(text, len(unrecorded))
        for entry in running[:JUDGED_AT_ONCE]:
            self._settle_running(broker, entry, death)
        if len(running) > JUDGED_AT_ONCE:
            return False
        self._buried(death)
        return True

    def _settle_running(self, broker: Broker, entry: Entry, death: Death) -> None:
        """What becomes of a task that a dead worker had begun."""
        cause = death.cause_of(entry.number)
        if cause == "stopped":
            if is_locked(broker, entry.receipt):
                self._ledger.left += 1
                self._ledger.forget(entry.receipt)
            else:
                give_back(broker, self._ledger, [entry])
        elif cause in {"timed out", "innocent"}:
            if cause == "timed out":
                entry.errand, entry.cause = Errand.CONCLUDE, cause
                self._ledger.concluding.add(entry.receipt)
            entry.text = death.text if cause == death.cause else BESIDE
            self._give_out_again(broker, [entry])
        else:
            self._start_again(broker, entry, death)

    def _give_out_again(self, broker: Broker, entries: Sequence[Entry]) -> None:
        """Hand out again, not counted, whatever is still ours."""
        ours = broker.renew([entry.receipt for entry in entries])
        for entry in entries:
            if entry.receipt in ours:
                self._ledger.free_again(entry)
            else:
                self._ledger.forget(entry.receipt)

    def _start_again(self, broker: Broker, entry: Entry, death: Death) -> None:
        """Count the start that ended with its worker, and start it again. Only workers
        open packages, so the next one decides whether that was the last delivery.
        """
        starts = entry.delivery.starts + (not entry.is_counted)
        was_opening = entry.mark in death.opening
        if was_opening and starts >= self._options.max_deliveries:
            self._refuse(entry, f"{death.text} It was opening this package.")
        elif (
            entry.is_counted
            or not broker.supports_leases
            or is_locked(broker, entry.receipt)
        ):
            self._give_out_again(broker, [entry])
            entry.text, entry.is_counted = death.text, False
            entry.delivery = entry.delivery._replace(starts=starts)
        else:
            delivery = broker.redeliver(entry.receipt)
            self._ledger.forget(entry.receipt)
            if delivery is not None:
                self._ledger.take(delivery, first=True).text = death.text

    def _refuse(self, entry: Entry, reason: str) -> None:
        """No worker can open this package: have its failure recorded as it is."""
        record = results.unloadable_record(entry.delivery.package, reason)
        report = Report(entry.number, entry.receipt, False, record.to_bytes())
        entry.place = Place.ARRIVED
        if self._monitor is not None:
            self._monitor.send(encode_report(report))


def give_back(broker: Broker, ledger: Ledger, entries: Sequence[Entry]) -> None:
    """Back to the broker with what was not begun, or cut off; it is no longer ours.

    What is to start again, for a reason that only we know, must say so elsewhere too.
    """
    if again := [entry for entry in entries if entry.is_owned_up_here_only]:
        _mark_started(broker, again)
    broker.release([entry.receipt for entry in entries])
    for entry in entries:
        if entry.receipt.startswith(UNRECEIPTED):
            broker.enqueue(entry.delivery.package)
        # One by one: what was enqueued must not be so again after an error.
        ledger.forget(entry.receipt)
        ledger.returned += 1


def count_start(broker: Broker, entry: Entry) -> None:
    """What was freed from a dead cluster perhaps killed it: from now on its starts are
    counted before they happen.
    """
    if entry.delivery.rescues and not entry.is_counted:
        _mark_started(broker, [entry])
        entry.is_counted = True


def _mark_started(broker: Broker, entries: Sequence[Entry]) -> None:
    """Once: what is counted is known here, should the verb that follows fail."""
    broker.mark_started([entry.receipt for entry in entries])
    for entry in entries:
        delivery = entry.delivery
        entry.delivery = delivery._replace(starts=delivery.starts + 1)


def is_locked(broker: Broker, receipt: str) -> bool:
    """Whether the database is still busy with what a dead worker began: nobody waits
    for that here. The worker who gets it next does, or, at its end, the next cluster.
    """
    if not broker.supports_atomic:
        return False
    try:
        broker.lock(receipt)
    except PackageLocked:
        return True
    return False


def forbid_former_parcels(board: Board, epoch: int) -> None:
    """When this returns, no worker starts what an earlier pusher handed out."""
    board[Word.EPOCH] = epoch
    for row in board.rows:
        row[Cell.VOID] = number_of(epoch, 0) - 1
    if epoch > 1:
        sleep(VOID_PAUSE)
