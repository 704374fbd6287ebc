"""Pusher: takes packages from the broker and hands them to the workers as parcels."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from time import monotonic

from django_q.brokers.front import in_service
from django_q.cluster.board import Word
from django_q.cluster.frames import Frame, Kind, control, encode_parcels
from django_q.cluster.hands import LONG_STAND, STUCK_AFTER, Hand, make_hand, note_reach
from django_q.cluster.ledger import Entry, Ledger, behind, count_innocents, has_suspect
from django_q.cluster.lines import Glance, Line
from django_q.cluster.looks import Looks
from django_q.cluster.recovery import (
    Recovery,
    count_start,
    forbid_former_parcels,
    give_back,
)
from django_q.cluster.roles import LONGEST_PAUSE, Launch, Role
from django_q.cluster.trouble import Trouble
from django_q.cluster.windows import WITH_STOCK, fair_share, how_many_to_fetch
from django_q.logs import logger
from django_q.transactions import is_contended


class Pusher(Role):
    """Duties: 1. keep the leases of what this cluster holds; 2. fetch as much as keeps
    the workers busy; 3. hand it over; 4. take it back from a worker that is stuck, has
    died or retires; 5. when it stops, give back what was not started.
    """

    kind = "pusher"

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.ledger = Ledger(self.board[Word.EPOCH] + 1)
        self.hands: dict[int, Hand] = {}
        self.monitor: Line | None = None
        self.recovery = Recovery(self.ledger, self.board, self.control, self.options)
        self.trouble = Trouble(longest=min(3.0, self.options.lease / 3))
        self.more = True
        self.looks = Looks()
        self.next_renewal = 0.0
        self.has_given_back = False

    def setup(self) -> None:
        self.broker = in_service(self.launch.broker)
        self.lease = self.broker.lease_length
        self.ledger.knows_starts = self.broker.supports_leases
        self.broker.enlist(self.launch.identity.id, self.lease)
        forbid_former_parcels(self.board, self.ledger.epoch)
        logger.info("%s pushing tasks at %s", self.title, os.getpid())

    def turn(self) -> None:
        self.collect()
        with self._in_spite_of_errors():
            if not self.trouble.rest:
                self._use_broker()
            self.hand_over()
            self.relieve_stuck()
        if self.is_stopping:
            self.wind_down()
        self.board[Word.WAITING] = self._count_waiting()
        self.board[Word.LIMIT] = self._capacity()[1]

    def _use_broker(self) -> None:
        self.recovery.advance(self.broker)
        if self.recovery.take_strays(self.broker, at_once=self.trouble.is_due):
            self.next_renewal = 0.0
        self.renew()
        # A new worker need not wait until more is fetched.
        self.hand_over()
        self.fetch()
        self.trouble.end(f"{self.title}: the broker works")
        self._return_surplus()

    def teardown(self) -> None:
        self._hear_monitor()
        if not self.control.closed:
            self._give_back(list(self.ledger.free))
        self.recovery.show()
        with self._in_spite_of_errors():
            self.broker.close()
        logger.info("%s stopped pushing tasks", self.title)

    # -- news

    def collect(self) -> None:
        lines = [hand.line for hand in self.hands.values()]
        if self.monitor is not None:
            lines.append(self.monitor)
        is_waiting = self._can_fetch and not self.more
        call = self.broker.news_fd() if is_waiting else None
        calls = () if call is None else (call,)
        readable = self.listen(lines, self.patience(), calls, self._glance())
        if call in readable:
            self._has_news()
        if self.monitor is not None and self.monitor.fileno() in readable:
            self._hear_monitor()
        for hand in list(self.hands.values()):
            if hand.line.fileno() in readable:
                self._hear_worker(hand)
            hand.note_turn()

    def _glance(self) -> Glance | None:
        """While nothing is there to be fetched, look now and then for what came."""
        is_waiting = self._can_fetch and not (self.more or self.trouble.rest)
        return Glance(self._has_news, self.broker.pulse) if is_waiting else None

    def _has_news(self) -> bool:
        self.more = self.more or self.broker.has_news()
        return self.more

    def patience(self) -> float:
        """How long to wait for news before something must be done anyway."""
        if self.trouble.rest:
            return self.trouble.rest
        times = [LONGEST_PAUSE, self.recovery.rest]
        if self.ledger.entries and self.broker.can_renew:
            times.append(self.next_renewal - monotonic())
        if self._can_fetch:
            times.append(self._time_to_fetch() if self.more else self.looks.rest)
        if any(self._load_of(hand) > 1 for hand in self.hands.values()):
            times.append(LONG_STAND / 2)
        if self._someone_waits_in_vain():
            times.append(STUCK_AFTER / 2)
        return max(0.0, min(times))

    def _time_to_fetch(self) -> float:
        """Workers call when they have little left; not when they begin something."""
        if self._wanted():
            return WITH_STOCK if self.ledger.free else 0.0
        is_idle = any(hand.is_idle for hand in self._open_hands)
        return STUCK_AFTER / 2 if is_idle else LONGEST_PAUSE

    def _hear_worker(self, hand: Hand) -> None:
        for frame in hand.line.receive():
            if frame.kind is Kind.DROPPED:
                self.ledger.drop(hand.generation, frame.facts["number"])
                hand.runs_left += 1
            elif frame.kind is Kind.RETIRE:
                hand.is_retiring = True
                self.ledger.take_back(hand.generation, frame.facts["last"])

    def _hear_monitor(self) -> None:
        monitor = self.monitor
        for frame in monitor.receive() if monitor is not None else ():
            if frame.kind is Kind.SETTLED:
                self.recovery.settle(self.broker, **frame.facts)
                if len(frame.facts["done"]) < len(frame.facts["receipts"]):
                    # They are tried again: nobody calls when that is due.
                    self.looks.expect()
            elif frame.kind is Kind.ARRIVED:
                self.recovery.testify(frame.facts["generation"], frame.facts["numbers"])
            elif frame.kind is Kind.LISTED:
                self.recovery.listed(frame.facts["keys"], frame.facts["greeted"])
        if monitor is not None and monitor.closed:
            self.monitor = None

    def obey(self, frame: Frame) -> None:
        super().obey(frame)
        if frame.kind is Kind.DEAD:
            self.mourn(frame)
        elif frame.kind is Kind.RETIRE:
            self.has_left = True

    def mourn(self, frame: Frame) -> None:
        """A worker died: read what it still said, then let go of it."""
        if hand := self.hands.pop(frame.facts["generation"], None):
            self._hear_worker(hand)
            hand.line.close()
        self.recovery.bury(frame.facts)

    def meet(self, kind: str, generation: int, row: int, line: Line) -> None:
        if kind == "monitor":
            if former := self.monitor:
                self._hear_monitor()
                former.close()
            self.monitor = line
            self.recovery.meet_monitor(line)
        else:
            pace = max((hand.pace for hand in self.hands.values()), default=0)
            where, options = self.board.rows[row], self.options
            self.hands[generation] = make_hand(generation, where, line, options, pace)

    # -- fetching

    @property
    def _can_fetch(self) -> bool:
        return not self.is_stopping and not self.recovery.is_under_way

    def _wanted(self) -> int:
        """How many packages to ask for now; 0: none."""
        whole, limit = self._capacity()
        room, most = limit - self._count_waiting(), self.options.bulk
        idle = any(h.is_idle and not self._load_of(h) for h in self._open_hands)
        return how_many_to_fetch(room, whole, most, someone_idle=idle)

    def _capacity(self) -> tuple[int, int]:
        """How many packages keep all workers busy, and how many may wait here."""
        whole = sum(hand.window + hand.room for hand in self._open_hands)
        return whole, min(whole, self.options.queue_limit or whole)

    @property
    def _open_hands(self) -> list[Hand]:
        return [hand for hand in self.hands.values() if not hand.is_retiring]

    def fetch(self) -> None:
        if not self._can_fetch:
            return
        self.more = self.more or self.looks.is_time(self.broker.may_miss)
        if not (count := self._wanted() if self.more else 0):
            return
        if self._has_enough(count) and is_contended(self.broker.database):
            # Workers that come meanwhile would wait with us.
            return
        begun = self.board.now()
        deliveries = self.broker.dequeue(count=count) or []
        if deliveries:
            self.looks.found()
            self._begin_lease(begun)
            again = self.broker.can_renew and not self.broker.supports_leases
            self.ledger.take_all(deliveries, once=again)
            self.board[Word.WAITING] = self._count_waiting()
        else:
            self.looks.found_none(self.broker.next_due())
        self.more = len(deliveries) >= count

    def _has_enough(self, count: int) -> bool:
        """Whether hands are full, and as much as would be fetched is here for others."""
        has_stock = len(self.ledger.free) >= count
        return has_stock and all(self._room_in(h) <= 0 for h in self.hands.values())

    # -- handing over

    def _load_of(self, hand: Hand) -> int:
        return len(behind(hand.last, self.ledger.hands.get(hand.generation, ())))

    def _room_in(self, hand: Hand) -> int:
        """How many parcels this worker may get now. A suspect is alone in a hand."""
        is_leaving = self.is_stopping and hand.running
        if hand.is_retiring or hand.line.closed or is_leaving:
            return 0
        if has_suspect(self.ledger.hands.get(hand.generation, {})):
            return 0
        room = hand.window + hand.room - self._load_of(hand)
        return int(min(room, hand.runs_left))

    @property
    def _may_give(self) -> bool:
        """At a stop only what is to be concluded, so when the rest has gone back."""
        waits = self.recovery.is_under_way or self.board.lease_has_lapsed
        return not waits and not (self.is_stopping and self.ledger.to_run)

    def hand_over(self) -> None:
        if not self.ledger.free or not self._may_give:
            return
        ready = [hand for hand in self.hands.values() if self._room_in(hand) > 0]
        ready.sort(key=lambda hand: self._load_of(hand) - hand.room)
        share = fair_share(len(self.ledger.free), len(ready))
        for hand in ready:
            self._give(hand, min(share, self._room_in(hand)))

    def _give(self, hand: Hand, count: int) -> None:
        """Send parcels to a worker; a suspect alone, and only to one with empty hands."""
        free = self.ledger.free
        count = count_innocents(free, count)
        may_count = not self.trouble.rest and not self.ledger.hands.get(hand.generation)
        if free and free[0].is_suspect and may_count:
            count_start(self.broker, free[0])
            count = 1
        entries = self.ledger.hand(hand.generation, count)
        if entries:
            hand.runs_left -= len(entries)
            hand.line.send(encode_parcels([entry.as_parcel() for entry in entries]))

    # -- taking back

    def _someone_waits_in_vain(self) -> bool:
        """A worker is idle while another one has more than it can begin."""
        idle = [hand for hand in self._open_hands if hand.is_idle]
        if self.is_stopping or all(map(self._load_of, idle)):
            return False
        return any(map(self._load_of, self.hands.values()))

    def relieve_stuck(self) -> None:
        if not self._someone_waits_in_vain():
            return
        for hand in list(self.hands.values()):
            if hand.is_stuck and self._load_of(hand):
                self.take_back(hand)
        self.hand_over()

    def _return_surplus(self) -> None:
        """What was fetched for short tasks goes back when long ones came: other
        clusters may be idle.
        """
        hands = list(self.hands.values())
        for hand in hands:
            if hand.stands_long and self._load_of(hand) > hand.window:
                self.take_back(hand)
        surplus = len(self.ledger.free) - sum(hand.window for hand in hands)
        standing = bool(hands) and all(hand.stands_long for hand in hands)
        if standing and surplus > 0 and self.broker.supports_leases:
            self._give_back(list(self.ledger.free)[-surplus:])

    def take_back(self, hand: Hand) -> list[Entry]:
        """Everything that this worker has not begun becomes ours again."""
        known = self.ledger.hands.get(hand.generation, {})
        if not known:
            return []
        hand.forbid(known)
        # It writes the number before it looks at `void`, so this one word decides. Its
        # turn would not: that may show the hook of a task that is long forgotten here.
        back = self.ledger.take_back(hand.generation, hand.last)
        hand.runs_left += len(back)
        return back

    # -- leases

    def _begin_lease(self, begun: int) -> None:
        """What was fetched is leased from `begun` on; the oldest lease counts."""
        if not self.broker.can_renew:
            self.board[Word.LEASE_UNTIL] = 2**63
            return
        note_reach(self.hands.values(), self.board.now() - begun)
        if self.next_renewal <= 0:
            self._extend_lease(begun)

    def _extend_lease(self, begun: int) -> None:
        self.board[Word.LEASE_UNTIL] = begun + int(self.lease * 1000)
        self.next_renewal = monotonic() + self.lease / 3

    def renew(self) -> None:
        if not self.broker.can_renew or monotonic() < self.next_renewal:
            return
        if not self.ledger.entries:
            self.next_renewal = 0.0
            return
        begun = self.board.now()
        receipts = list(self.ledger.entries)
        lost = set(receipts) - self.broker.renew(receipts)
        if lost:
            # Before the lease is seen to stand again, for then workers go on.
            self._lose(lost)
        self._extend_lease(begun)

    def _lose(self, receipts: set[str]) -> None:
        """Others have these now, or they are saved and the news is on its way."""
        self._hear_monitor()
        for hand in list(self.hands.values()):
            pending = self.ledger.unstarted(hand.generation, hand.last)
            if any(entry.receipt in receipts for entry in pending):
                self.take_back(hand)
        gone = self.ledger.find_lost(receipts)
        # What was begun here and nobody has any more is lost to nobody: it has ended.
        known = self.ledger.entries
        lost = [r for r in gone if known[r].is_free or self.broker.has(r)]
        self.ledger.settle(gone)
        if lost:
            logger.warning("%s: lease lost for %s tasks", self.title, len(lost))

    def _in_spite_of_errors(self) -> AbstractContextManager[None]:
        return self.trouble.endure(self.title, "the broker")

    # -- stopping

    def _count_waiting(self) -> int:
        """Packages in the house that nobody has begun."""
        return len(self.ledger.free) + sum(map(self._load_of, self.hands.values()))

    def wind_down(self) -> None:
        """Quiet first: give back what was not begun. Then renew until told to leave, and
        hand over only what is to be concluded.
        """
        if not self.has_given_back:
            self.has_given_back = True
            self._give_back_all()
        elif not self.trouble.rest and (to_run := self.ledger.to_run):
            self._give_back(to_run)
        with self._in_spite_of_errors():
            self.hand_over()

    def _give_back_all(self) -> None:
        with self._in_spite_of_errors():
            # It may wait for a package, or have one that woke us.
            self.broker.close()
        for hand in list(self.hands.values()):
            self.take_back(hand)
        running = sum(hand.running for hand in self.hands.values())
        facts = {"running": running, "returned": len(self.ledger.to_run)}
        self._give_back(self.ledger.to_run)
        self.control.send(control(Kind.STOPPING, **facts))

    def _give_back(self, entries: list[Entry]) -> None:
        with self._in_spite_of_errors():
            give_back(self.broker, self.ledger, entries)
