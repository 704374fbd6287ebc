"""Monitor: saves ended runs, continues chains, acknowledges; in batches."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from math import inf
from time import monotonic, sleep
from typing import Final, NamedTuple

from django.db import InterfaceError, OperationalError

from django_q import results
from django_q.brokers.front import in_service
from django_q.cluster.abroad import Abroad, Unsent, links_in, way_of
from django_q.cluster.board import Word, mark_of
from django_q.cluster.chronicle import Chronicle
from django_q.cluster.frames import (
    UNRECEIPTED,
    Frame,
    Kind,
    Report,
    control,
    decode_report,
)
from django_q.cluster.lines import Line
from django_q.cluster.roles import LONGEST_PAUSE, Launch, Role
from django_q.cluster.trouble import Trouble
from django_q.exceptions import BrokerUnavailable
from django_q.logs import clean, logger
from django_q.results import Record
from django_q.transactions import writing

GATHER: Final = 0.002
"""Seconds that the first end of a batch waits for others."""

GATHER_LONG: Final = 0.02
"""The same while many come: a larger batch costs less, and nobody waits for one."""

NAP: Final = 0.004
"""Seconds; in longer ones the lines would be full of large results."""

MANY: Final = 40
"""Ends in a batch that make the next one wait longer."""

OUTAGES: Final = (OperationalError, InterfaceError, OSError, BrokerUnavailable)
"""What is wrong then is none of the records."""

LARGEST_BATCH: Final = 500

FIRST_REST: Final = 0.1
LONGEST_REST: Final = 5.0
"""Seconds until a refused record is tried again: twice as long after each try."""

PUSHER: Final = 0
"""Stands for the pusher where others are known by their generation."""


class Ended(NamedTuple):
    """An ended run in the monitor's hands."""

    sender: int
    """Generation of the worker that sent it."""
    report: Report
    record: Record


class Refused(NamedTuple):
    """An ended run that is in nobody's way while it rests."""

    ended: Ended
    rest: float
    due: float


class Monitor(Role):
    """Duties, in this order and no other: 1. gather what ended; 2. save it, put the next
    links of chains on their queues, and acknowledge: in one transaction where results
    and queue share a database; 3. tell workers and pusher; 4. say it in the log.

    What could not be saved is not acknowledged: it is kept and tried again. A record that
    is refused while others are not has times of its own for that, for ever: nobody can
    tell whether the reason will pass. When all else is done it is left to its lease.
    """

    kind = "monitor"

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.workers: dict[int, Line] = {}
        self.pusher: Line | None = None
        self.unsaved: dict[int, Ended] = {}
        self.refused: dict[int, Refused] = {}
        self.unheard: dict[str, int] = {}
        """Receipts of what was perhaps settled, and when its lease would have ended."""
        self.greeted: set[int] = set()
        self.first_came = 0.0
        self.gather = GATHER
        self.trouble = Trouble()
        self.refusals = Trouble()
        self.chronicle = Chronicle()
        self.abroad = Abroad()

    def setup(self) -> None:
        self.broker = in_service(self.launch.broker)
        self.broker.enlist(self.launch.identity.id, self.broker.lease_length)
        self.database = results.write_alias()
        logger.info("%s monitoring at %s", self.title, os.getpid())

    def turn(self) -> None:
        self.collect(self._patience())
        if self.unsaved and self._is_time_to_save():
            self.settle(list(self.unsaved.values())[:LARGEST_BATCH])
        if self.refused and not self.trouble.rest:
            self._try_refused()
        self.board[Word.UNSAVED] = len(self.unsaved) + len(self.refused)
        self.chronicle.summarise(monotonic())
        # The sentinel says STOP when the last worker is gone, so nothing more comes.
        self.has_left = self.is_stopping and not self.unsaved

    def teardown(self) -> None:
        self.broker.close()
        self.abroad.close()
        if self.refused:
            text = "%s: %s results were refused to the end; their tasks run again"
            logger.error(text, self.title, len(self.refused))
        logger.info("%s stopped monitoring results", self.title)

    # -- news

    def _patience(self) -> float:
        if self.trouble.rest:
            return self.trouble.rest
        if len(self.unsaved) >= LARGEST_BATCH:
            return 0.0
        now = monotonic()
        moments = [now + LONGEST_PAUSE, *(r.due for r in self.refused.values())]
        if self.unsaved:
            moments.append(self.first_came + self.gather)
        return max(0.0, min(moments) - now)

    def _is_time_to_save(self) -> bool:
        if self.trouble.rest:
            return False
        full = len(self.unsaved) >= LARGEST_BATCH
        return full or monotonic() - self.first_came >= self.gather

    def collect(self, timeout: float) -> None:
        if self.unsaved and self.gather > GATHER:
            # Many come: each would wake us, and be read alone.
            sleep(min(timeout, NAP))
            timeout = 0.0
        lines = list(self.workers.values())
        if self.pusher is not None:
            lines.append(self.pusher)
        readable = self.listen(lines, timeout)
        for generation, line in list(self.workers.items()):
            if line.fileno() in readable:
                self._hear_worker(generation)
        if self.pusher is not None and self.pusher.fileno() in readable:
            self._hear_pusher(self.pusher)

    def meet(self, kind: str, generation: int, row: int, line: Line) -> None:
        if kind == "pusher":
            if self.pusher is not None:
                self.pusher.close()
            self.pusher = line
        else:
            self.workers[generation] = line

    def _hear_worker(self, generation: int) -> None:
        line = self.workers[generation]
        for frame in line.receive():
            if frame.kind is Kind.RECORD:
                self._note(generation, frame)
            elif frame.kind is Kind.HELLO:
                self.greeted.add(generation)
        if line.closed:
            self.workers.pop(generation)
            self.greeted.discard(generation)

    def _note(self, sender: int, frame: Frame) -> None:
        report = decode_report(frame.body)
        if report.number in self.refused:
            return
        if not self.unsaved:
            self.first_came = monotonic()
        record = Record.from_bytes(report.record)
        self.unsaved[report.number] = Ended(sender, report, record)

    def _hear_pusher(self, pusher: Line) -> None:
        frames = pusher.receive()
        if frames:
            self._hear_sentinel()
        for frame in frames:
            if frame.kind is Kind.RECORD:
                self._note(PUSHER, frame)
            elif frame.kind is Kind.FINISH:
                self.tell_last_words(pusher, frame.facts["generation"])
            elif frame.kind is Kind.LIST:
                self.tell_list(pusher)
        if pusher.closed and self.pusher is pusher:
            self.pusher = None

    def _hear_sentinel(self) -> None:
        """Before we testify: take the lines that were handed to us, or we would not know
        what a worker wrote on one before it died.
        """
        for frame in self.control.receive():
            self.obey(frame)

    def tell_last_words(self, pusher: Line, generation: int) -> None:
        """A worker is dead. What it wrote last lies in our own buffer by now.

        Its line is not read to its end: a process that its task forked may hold it.
        """
        if generation in self.workers:
            self._hear_worker(generation)
        line = self.workers.pop(generation, None)
        if line is not None:
            line.close()
        numbers = [n for n, e in self._in_hand.items() if e.sender == generation]
        pusher.send(control(Kind.ARRIVED, generation=generation, numbers=numbers))

    def tell_list(self, pusher: Line) -> None:
        """What has come and is not settled, after reading all lines."""
        for generation in list(self.workers):
            self._hear_worker(generation)
        keys = [mark_of(ended.report.receipt) for ended in self._in_hand.values()]
        pusher.send(control(Kind.LISTED, keys=keys, greeted=list(self.greeted)))

    @property
    def _in_hand(self) -> dict[int, Ended]:
        """All that has come and is not settled."""
        return self.unsaved | {n: r.ended for n, r in self.refused.items()}

    # -- saving

    def settle(self, batch: Sequence[Ended]) -> None:
        """Those whose chain goes on at another broker by themselves: when that can't be
        reached, the others need not wait for it.
        """
        if settled := [ended for ended in batch if ended.report.settled]:
            self._let_go(settled, set())
        ways: dict[str | None, list[Ended]] = defaultdict(list)
        for ended in batch:
            if not ended.report.settled:
                ways[way_of(ended.record)].append(ended)
        for way, group in ways.items():
            if not self.trouble.rest:
                self._settle(group, way)

    def _settle(self, batch: Sequence[Ended], way: str | None) -> None:
        try:
            with self.trouble.watch(f"{self.title}: where results go"):
                late = self.save(batch, way)
        except Unsent as error:
            for ended in batch:
                self._put_off(ended, error)
        except OUTAGES as error:
            until = self.board[Word.LEASE_UNTIL]
            self.unheard = {e.report.receipt: until for e in batch} | self.unheard
            who = "broker" if isinstance(error, BrokerUnavailable) else "database"
            what = f"{len(self._in_hand)} results wait for the {who}"
            self.trouble.begin(what, error)
        except Exception as error:  # noqa: BLE001 - any client's errors end here
            self._find_culprit(batch, error)
        else:
            self.trouble.end(f"{self.title}: results are saved")
            self._let_go(batch, late - self._perhaps_ours())

    def _perhaps_ours(self) -> set[str]:
        """What is no longer in the queue because of us: nobody could rescue it so soon."""
        now = self.board.now()
        return {receipt for receipt, until in self.unheard.items() if now < until}

    def _find_culprit(self, batch: Sequence[Ended], error: Exception) -> None:
        """One of them is to blame, and the others need not wait for it."""
        if len(batch) == 1:
            self._put_off(batch[0], error)
            return
        for ended in batch:
            if not self.trouble.rest:
                self.settle([ended])

    def _put_off(self, ended: Ended, error: Exception) -> None:
        number, record = ended.report.number, ended.record
        before = self.refused.get(number)
        rest = min(before.rest * 2, LONGEST_REST) if before else FIRST_REST
        self.refused[number] = Refused(ended, rest, monotonic() + rest)
        what = f"result of {clean(record.func)} [{clean(record.name)}] is refused"
        self.refusals.begin(what, error, rest)
        if self.unsaved.pop(number, None) and ended.sender in self.workers:
            self.workers[ended.sender].send(control(Kind.REFUSED, number=number))

    def _try_refused(self) -> None:
        """Those whose time has come; at the end, all for a last time."""
        now = inf if self.is_stopping else monotonic()
        due = [r.ended for r in self.refused.values() if r.due <= now]
        if due:
            self.settle(due[:LARGEST_BATCH])
        if not self.refused:
            self.refusals.end(f"{self.title}: no result is refused")

    def _let_go(self, batch: Sequence[Ended], late: set[str]) -> None:
        """These are durable, or another's: tell everybody who waits for that."""
        self.gather = GATHER_LONG if len(batch) >= MANY else GATHER
        for ended in batch:
            self.unsaved.pop(ended.report.number, None)
            self.refused.pop(ended.report.number, None)
            self.unheard.pop(ended.report.receipt, None)
        self.first_came = monotonic()
        self._say_late(batch, late)
        self.tell_saved(batch, late)
        timely = [e.record for e in batch if e.report.receipt not in late]
        self.chronicle.record(timely, monotonic())

    def save(self, batch: Sequence[Ended], way: str | None = None) -> set[str]:
        """Make a batch durable. Gives the receipts of those that came too late.

        `way`: the queue on another broker where all their chains go on.
        """
        if way is None and self.broker.database == self.database:
            with writing(self.database, patient=True):
                late = self.acknowledge(batch)
                self.write(batch, late)
            return late
        self.write(batch, None, way)
        return self.acknowledge(batch)

    def acknowledge(self, batch: Sequence[Ended]) -> set[str]:
        """Remove what ended from the broker, give back what is tried again."""
        known = [e for e in batch if not e.report.receipt.startswith(UNRECEIPTED)]
        receipts = [e.report.receipt for e in known if is_done(e.record)]
        for ended in known:
            if ended.record.cause == "rejected":
                self.broker.fail(ended.report.receipt)
        ours = self.broker.acknowledge_many(receipts) if receipts else set()
        late = set(receipts) - ours
        for ended in batch:
            if ended.record.pause is not None:
                late |= self._give_back(ended)
        return late

    def _give_back(self, ended: Ended) -> set[str]:
        receipt, pause = ended.report.receipt, ended.record.pause or 0.0
        back = self.broker.release([receipt], delay=pause, failed=True)
        return {receipt} - back

    def write(
        self, batch: Sequence[Ended], late: set[str] | None, way: str | None = None
    ) -> None:
        """Write the rows, then the next links: after a crash in between they are
        written again, under the same ids. `late`: None where that is not known yet.
        """
        timely = [e.record for e in batch if e.report.receipt not in (late or ())]
        if late is None:
            timely = results.unqueued(timely, using=self.database)
        results.save([r for r in timely if r.keep], using=self.database)
        results.save_attempts(timely, using=self.database)
        links = links_in(timely, self.broker.short_key)
        if links and way is not None:
            self.abroad.send(way, links)
        elif links:
            self.broker.enqueue_many(links)

    def _say_late(self, batch: Sequence[Ended], late: set[str]) -> None:
        """Something was saved before, or another cluster has it by now."""
        for ended in batch:
            if is_discarded(ended, late):
                record = ended.record
                text = "result of %s [%s] came late: its lease was lost; discarded"
                logger.warning(text, clean(record.func), clean(record.name))

    def tell_saved(self, batch: Sequence[Ended], late: set[str]) -> None:
        """Nothing of these need be kept; whose result was discarded has no hook."""
        numbers: dict[int, list[int]] = defaultdict(list)
        lost = {e.report.number for e in batch if is_discarded(e, late)}
        for ended in batch:
            numbers[ended.sender].append(ended.report.number)
        for sender, saved in numbers.items():
            line = self.workers.get(sender)
            if line is not None:
                discarded = [number for number in saved if number in lost]
                line.send(control(Kind.SAVED, numbers=saved, discarded=discarded))
        receipts = [ended.report.receipt for ended in batch]
        done = [e.report.receipt for e in batch if e.record.pause is None]
        if self.pusher is not None:
            self.pusher.send(control(Kind.SETTLED, receipts=receipts, done=done))


def is_done(record: Record) -> bool:
    """Neither tried again nor refused unread."""
    return record.pause is None and record.cause != "rejected"


def is_discarded(ended: Ended, late: set[str]) -> bool:
    """Another cluster has it now. What is sent again was saved the first time."""
    return ended.report.receipt in late and not ended.report.again
