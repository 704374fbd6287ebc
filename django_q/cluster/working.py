"""Worker: opens a parcel, executes it, and keeps the end of it until it is saved."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import ClassVar, Final

from django_q import results
from django_q.cluster import remarks
from django_q.cluster.affinity import restrict_to_share
from django_q.cluster.atomic_runs import AtomicRuns, Ended, NotBegun, NotOurs
from django_q.cluster.board import Cell, State, pack_turn
from django_q.cluster.frames import (
    Kind,
    Parcel,
    Report,
    control,
    decode_parcels,
    encode_report,
)
from django_q.cluster.lengths import SHORT_RUN, Lengths
from django_q.cluster.lines import Line
from django_q.cluster.rejections import Rejections
from django_q.cluster.roles import LONGEST_PAUSE, Launch, Role
from django_q.cluster.titles import set_title
from django_q.cluster.trouble import Trouble
from django_q.cluster.verdicts import (
    deliveries_allowed,
    judge,
    looks_first,
    open_parcel,
)
from django_q.cluster.wear import is_worn
from django_q.envelope import Envelope
from django_q.exceptions import UnreadablePackage
from django_q.execution import Runner
from django_q.logs import clean, logger
from django_q.outcome import Outcome
from django_q.signals import announce, post_spawn
from django_q.signing import Opener

MOST_KEPT: Final = 500
"""Ended runs that a worker keeps; more would cost memory while nothing is saved."""

KEPT_BYTES: Final = 8 * 1024 * 1024
HOOK_PATIENCE: Final = 0.25
"""Seconds that a worker waits for "saved" before a task that may be long, so that hooks
of those before do not wait behind it."""

LOOK_EVERY: Final = 0.005
"""Seconds between two looks at the lines while there is work in hand: looking costs as
much as running a tiny task does."""


class Worker(Role):
    """Duties: 1. say on the board what it begins; 2. open, execute, encode; 3. send each
    end at once, and keep it until it is saved; 4. then run hooks; 5. retire in time.
    """

    kind = "worker"
    runner_class: ClassVar[type[Runner]] = Runner
    calls: Sequence[int] = ()
    """What else calls, beside the lines: file numbers."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.row = self.board.rows[launch.row]
        self.pusher: Line | None = None
        self.monitor: Line | None = None
        self.inbox: deque[Parcel] = deque()
        self.opener = Opener()
        self.kept: dict[int, Report] = {}
        self.kept_bytes = 0
        self.refused: set[int] = set()
        """Those of the kept that the monitor could not save so far."""
        self.unfinished: dict[int, tuple[Outcome, bool]] = {}
        """Number of a run -> its end, and whether that was the task's."""
        self.runner = self.runner_class(self.options)
        self.rejections = Rejections()
        self.atomic_runs = AtomicRuns(launch, Trouble(longest=1.0))
        self.done = 0
        self.has_title = False
        """Whether ps shows the task in hand."""
        self.lengths = Lengths()
        self.is_retiring = False
        self.low_water = 0
        self.next_look = 0.0

    def setup(self) -> None:
        share, pretend = self.options.cpu_affinity, self.options.testing
        restrict_to_share(self.launch.row, share, pretend=pretend)
        self._set_title("idle")
        announce(post_spawn, proc_name=self.title)
        logger.info("%s ready for work at %s", self.title, os.getpid())

    def teardown(self) -> None:
        self.rejections.sum_up()
        self.runner.close()
        logger.info("%s stopped doing work", self.title)

    def turn(self) -> None:
        is_ready = self._is_ready
        if not is_ready or monotonic() >= self.next_look:
            is_free = self._is_leaving and not self._awaited
            self.collect(0.0 if is_ready or is_free else LONGEST_PAUSE)
            is_ready = self._is_ready
        if is_ready:
            self.take_up(self.inbox.popleft())
        elif self._is_leaving:
            self.inbox.clear()
            self.has_left = not self._awaited

    @property
    def _is_ready(self) -> bool:
        return bool(self.inbox) and not self._is_leaving and self._may_start

    @property
    def _is_leaving(self) -> bool:
        return self.is_stopping or self.is_retiring

    @property
    def _awaited(self) -> set[int]:
        """Ends that must be saved before it leaves. What is refused now may be saved
        later, with its hook; only at a stop there is no later.
        """
        given_up = self.refused if self.is_stopping else set()
        return self.kept.keys() - given_up

    @property
    def _may_start(self) -> bool:
        """Nothing starts while the end of the former run may still be lost with us."""
        room = len(self.kept) < MOST_KEPT and self.kept_bytes < KEPT_BYTES
        monitor = self.monitor
        return room and monitor is not None and not monitor.is_waiting

    # -- news

    def collect(self, timeout: float) -> None:
        lines = [line for line in (self.pusher, self.monitor) if line is not None]
        readable = self.listen(lines, timeout, self.calls)
        self.next_look = monotonic() + LOOK_EVERY
        if self.pusher is not None and self.pusher.fileno() in readable:
            self._hear_pusher(self.pusher)
        if self.monitor is not None and self.monitor.fileno() in readable:
            self._hear_monitor(self.monitor)

    def _hear_pusher(self, pusher: Line) -> None:
        for frame in pusher.receive():
            if frame.kind is Kind.PARCELS:
                self.opener = Opener()
                self.inbox.extend(decode_parcels(frame.body))
                self.low_water = len(self.inbox) // 2
        if pusher.closed:
            self.pusher = None

    def _hear_monitor(self, monitor: Line) -> None:
        for frame in monitor.receive():
            if frame.kind is Kind.SAVED:
                for number in frame.facts["discarded"]:
                    self.unfinished.pop(number, None)
                for number in frame.facts["numbers"]:
                    self._let_go(number)
            elif frame.kind is Kind.REFUSED:
                self.refused.add(frame.facts["number"])
        if monitor.closed:
            self.monitor = None

    def meet(self, kind: str, generation: int, row: int, line: Line) -> None:
        former = self.pusher if kind == "pusher" else self.monitor
        if former is not None:
            former.close()
        if kind == "pusher":
            self.pusher = line
            self.inbox.clear()
            return
        self.monitor = line
        self.refused.clear()
        for report in self.kept.values():
            line.send(encode_report(report._replace(again=True)))
        line.send(control(Kind.HELLO))

    def _let_go(self, number: int) -> None:
        """The end of this run is saved: forget it, and run its hook."""
        report = self.kept.pop(number, None)
        if report is None:
            return
        self.kept_bytes -= len(report.record)
        self.refused.discard(number)
        self.row.words[Cell.KEPT] = len(self.kept)
        if number in self.unfinished:
            self.finish(number, *self.unfinished.pop(number))

    def finish(self, number: int, outcome: Outcome, is_last: bool) -> None:
        before = self.row[Cell.TURN]
        limit = self.runner.limit_of(outcome.envelope)
        self._show(number, State.FINISHING, limit)
        within = partial(self.runner.call_within, limit)
        key = self.launch.list_key
        results.finish(
            outcome, self.options, within=within, list_key=key, is_last=is_last
        )
        self.row[Cell.TURN] = before
        # The pusher may have looked while it was not idle.
        self._ask_for_more()

    # -- one parcel

    def take_up(self, parcel: Parcel) -> None:
        """Begin a parcel, unless it was taken back or the lease has run out."""
        words = self.row.words
        if parcel.number <= words[Cell.VOID]:
            return
        words[Cell.NUMBER] = parcel.number
        words[Cell.KEY] = parcel.key
        words[Cell.STARTED] = self.board.now()
        self._show(parcel.number, State.OPENING, self.options.timeout)
        lapsed = self.board.lease_has_lapsed
        if lapsed or parcel.number <= words[Cell.VOID]:
            self._drop(parcel)
            return
        begun = monotonic()
        try:
            self.perform(parcel)
        except NotBegun as error:
            self.collect(self.atomic_runs.put_off(error))
            self._drop(parcel)
            return
        self._rest(parcel.number)
        self._measure(monotonic() - begun)
        self._ask_for_more()
        self.consider_retiring()

    def _drop(self, parcel: Parcel) -> None:
        """It was not started after all: let the pusher give it out again."""
        self._rest(parcel.number)
        self._tell_pusher(Kind.DROPPED, number=parcel.number)

    def _show(self, number: int, state: State, limit: float | None) -> None:
        """Write on the board what is being done, and until when it may take."""
        deadline = self.board.deadline(limit)
        self.row.words[Cell.TURN] = pack_turn(number, state, deadline)

    def _rest(self, number: int) -> None:
        self.row.words[Cell.TURN] = pack_turn(number, State.IDLE, 0)
        if self.has_title:
            self._set_title("idle")
            self.has_title = False

    def _set_title(self, doing: str) -> None:
        set_title(self.options.name, f"worker {self.launch.row + 1}", doing)

    def perform(self, parcel: Parcel) -> None:
        try:
            envelope = open_parcel(parcel, self.opener, self.options)
        except UnreadablePackage as error:
            self.rejections.tell(parcel.package, error, monotonic())
            self.report(parcel, results.rejected_record())
        except BaseException as error:  # noqa: BLE001 - unpickling runs foreign code
            reason = f"{type(error).__name__}: {clean(error, 2000)}"
            record = results.unloadable_record(parcel.package, reason, look=True)
            self.report(parcel, record)
        else:
            self._perform_opened(parcel, envelope)

    def _perform_opened(self, parcel: Parcel, envelope: Envelope) -> None:
        looks = looks_first(parcel, envelope, self.options)
        if looks and results.has_succeeded(envelope):
            self._conclude_again(parcel, envelope)
            return
        if self.unfinished:
            self._wait_for_hooks(envelope)
        begun = monotonic()
        try:
            outcome = self.run_task(parcel, envelope)
        except NotOurs:
            self._leave_to_others(parcel, envelope)
        else:
            self.conclude(parcel, outcome, self.atomic_runs.take_settled(outcome))
        self.lengths.note(envelope.func_name, monotonic() - begun)

    def _conclude_again(self, parcel: Parcel, envelope: Envelope) -> None:
        """It came again, and has succeeded: say so, and what follows from that."""
        remarks.say_repeated(envelope)
        self.report(parcel, results.conclude_again(envelope, self.options))

    def _leave_to_others(self, parcel: Parcel, envelope: Envelope) -> None:
        """Its end is another cluster's to tell."""
        remarks.say_not_ours(envelope)
        self.report(parcel, results.rejected_record("not ours"), settled=True)

    def run_task(self, parcel: Parcel, envelope: Envelope) -> Outcome:
        attempt = parcel.attempts + 1
        is_atomic = self.runner.is_atomic(envelope)
        verdict = judge(parcel, envelope, self.options)
        if verdict is not None:
            if is_atomic:
                self._show(parcel.number, State.RUNNING, None)
                self.atomic_runs.wait_for(parcel.receipt)
            return self.runner.lost(envelope, *verdict, attempt=attempt)
        self._announce_start(parcel, envelope)
        limit = self.runner.limit_of(envelope)
        begin = partial(self._show, parcel.number, State.RUNNING, limit)
        if not is_atomic:
            begin()
            return self.runner.execute(envelope, attempt=attempt)
        # It may wait for its turn: that is none of the time that it has.
        self._show(parcel.number, State.RUNNING, None)
        frame = partial(self.atomic_runs.run, parcel.receipt, begin)
        return self.runner.execute(envelope, attempt=attempt, frame=frame)

    def _announce_start(self, parcel: Parcel, envelope: Envelope) -> None:
        is_short = 0 < self.row.words[Cell.PACE] < SHORT_RUN * 1e6
        self.row.task = remarks.label_of(envelope)
        if parcel.text:
            allowed = deliveries_allowed(envelope, self.options)
            remarks.say_started_again(envelope, parcel, allowed)
        elif not is_short:
            remarks.say_started(envelope, self.title)
        if not is_short:
            self._set_title(clean(envelope.func_name))
            self.has_title = True

    def conclude(
        self, parcel: Parcel, outcome: Outcome, settled: Ended | None = None
    ) -> None:
        """Encode what came of it and send it on its way."""
        options, key = self.options, self.launch.list_key
        outcome, record = settled or results.conclude(outcome, options, key)
        is_last = record.pause is None
        if results.needs_finish(outcome, is_last=is_last):
            self.unfinished[parcel.number] = outcome, is_last
        self.report(parcel, record, settled=settled is not None)

    def report(
        self, parcel: Parcel, record: results.Record, *, settled: bool = False
    ) -> None:
        """Keep the end of a run and send it at once; return when it is on its way.

        Until the kernel has all of it the board shows the task: between the two it would
        be nowhere, and a new pusher would give it out once more.
        """
        self._show(parcel.number, State.RUNNING, None)
        data = record.to_bytes()
        report = Report(parcel.number, parcel.receipt, False, data, settled)
        self.kept[parcel.number] = report
        self.kept_bytes += len(report.record)
        self.row.words[Cell.KEPT] = len(self.kept)
        if self.monitor is not None:
            self.monitor.send(encode_report(report))
        self.see_off(parcel.number)

    def see_off(self, number: int) -> None:
        """Return when this report is on its way."""
        while self.monitor is None or self.monitor.is_waiting:
            if number not in self.kept or self.control.closed:
                break
            self.collect(LONGEST_PAUSE)

    # -- after it

    def _wait_for_hooks(self, envelope: Envelope) -> None:
        """Before a run that may be long, let the hooks of former tasks run, if their ends
        are saved soon.
        """
        if self.lengths.is_short(envelope.func_name):
            return
        until = monotonic() + HOOK_PATIENCE
        while self.unfinished.keys() - self.refused and self.monitor is not None:
            if monotonic() >= until:
                break
            self.collect(until - monotonic())

    def _measure(self, took: float) -> None:
        """Note how long runs take of late; a long one counts at once."""
        words, now = self.row.words, max(1, int(took * 1e6))
        pace = words[Cell.PACE]
        starts_anew = not pace or now > 4 * pace
        words[Cell.PACE] = now if starts_anew else (pace * 4 + now) // 5
        self.done += 1

    def _ask_for_more(self) -> None:
        if len(self.inbox) in (0, self.low_water):
            self._tell_pusher(Kind.WANT)

    def _tell_pusher(self, kind: Kind, **facts: int) -> None:
        if self.pusher is not None:
            self.pusher.send(control(kind, **facts))

    def consider_retiring(self) -> None:
        """After `recycle` tasks, or above `max_rss`, make room for a fresh process."""
        if not is_worn(self.done, self.options):
            return
        self.is_retiring = True
        self.control.send(control(Kind.RETIRE))
        self._tell_pusher(Kind.RETIRE, last=self.row[Cell.NUMBER])
