"""ConcurrentWorker: a worker that has many tasks at once."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Final, NamedTuple

from django_q import results
from django_q.cluster import remarks
from django_q.cluster.atomic_runs import Ended, NotBegun
from django_q.cluster.board import Cell, State
from django_q.cluster.frames import Kind, Parcel
from django_q.cluster.lengths import SHORT_RUN
from django_q.cluster.places import Places, Ticket
from django_q.cluster.roles import LONGEST_PAUSE, Launch
from django_q.cluster.verdicts import deliveries_allowed, judge, looks_first
from django_q.cluster.working import LOOK_EVERY, Worker
from django_q.envelope import Envelope
from django_q.execution import NotRun
from django_q.execution.concurrent import ConcurrentRunner
from django_q.execution.threads import Threads
from django_q.outcome import Outcome

TITLE_EVERY: Final = 0.5
"""Seconds between two looks at how many tasks ps should show."""


@dataclass(slots=True, eq=False)
class Going:
    """A task that runs, in a thread or on the loop."""

    parcel: Parcel
    envelope: Envelope
    is_in_thread: bool = False
    outcome: Outcome | None = None
    settled: Ended | None = None
    error: NotRun | None = None


class Held(NamedTuple):
    """Where a parcel has its place, and since when."""

    ticket: Ticket
    moment: float


class ConcurrentWorker(Worker):
    """Duties: those of a worker, but 2. to let as many tasks as it may have run side by
    side: coroutines on an event loop, all others in threads.

    This thread opens packages, encodes what came of them and has the lines. Others only
    run users' code and ring the bell.
    """

    runner_class = ConcurrentRunner
    runner: ConcurrentRunner

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self.places = Places(self.board, self.row, self.options.concurrency)
        self.begun: dict[int, Held] = {}
        """Number of a parcel that is begun, until its end is on its way."""
        self.on_way: list[int] = []
        """Numbers of those of which the monitor's line has not got all."""
        self.threads = Threads(self.options.thread_count)
        self.hooks = Threads(1, "django-q hooks")
        self.waiting: Going | None = None
        """This one needs a thread, and none is free: nothing begins before it."""
        self.bell = Bell()
        self.calls = (self.bell.fileno(),)
        self.news: deque[Callable[[], None]] = deque()
        """What other threads want this one to do."""
        self.not_before = 0.0
        self.has_moved = True
        self.next_title = 0.0

    def setup(self) -> None:
        super().setup()
        self._say_room()

    def teardown(self) -> None:
        super().teardown()
        self.threads.close()
        self.hooks.close()
        self.bell.close()

    def turn(self) -> None:
        self.collect(0.0 if self.inbox and self._may_start else self._patience())
        self._hear_threads()
        self._clear_places()
        if self._is_leaving:
            self._drop_unbegun()
            is_busy = self.begun or self.hooks.busy
            self.has_left = not (is_busy or self._awaited)
        else:
            self._begin_some()
            # Some have ended at once, for instance what is not ours.
            self._clear_places()
        self._say_room()

    def _patience(self) -> float:
        pause = self.not_before - monotonic()
        return pause if self.inbox and 0 < pause < LONGEST_PAUSE else LONGEST_PAUSE

    @property
    def _may_start(self) -> bool:
        if self.waiting or not self.places.free or monotonic() < self.not_before:
            return False
        return super()._may_start

    # -- beginning

    def _begin_some(self) -> None:
        until = monotonic() + LOOK_EVERY
        while self.inbox and self._may_start and monotonic() < until:
            self.take_up(self.inbox.popleft())

    def take_up(self, parcel: Parcel) -> None:
        if parcel.number <= self.row[Cell.VOID]:
            return
        self.has_moved = True
        ticket = self.places.begin(parcel, self.options.timeout)
        self.begun[parcel.number] = Held(ticket, monotonic())
        if self.board.lease_has_lapsed or parcel.number <= self.row[Cell.VOID]:
            self._drop(parcel)
        else:
            self.perform(parcel)

    def _perform_opened(self, parcel: Parcel, envelope: Envelope) -> None:
        looks = looks_first(parcel, envelope, self.options)
        if looks and results.has_succeeded(envelope):
            self._conclude_again(parcel, envelope)
            return
        going = Going(parcel, envelope)
        runs = judge(parcel, envelope, self.options) is None
        is_plain = not self.runner.is_atomic(envelope)
        if runs and is_plain and self.runner.is_coroutine(envelope):
            self._show(parcel.number, State.RUNNING, self.runner.limit_of(envelope))
            self.runner.loop.start(self._run_on_loop(going))
        else:
            # It has its time from when it has a thread.
            self._show(parcel.number, State.RUNNING, None)
            self.waiting = going
            self._give_thread()

    async def _run_on_loop(self, going: Going) -> None:
        parcel, attempt = going.parcel, going.parcel.attempts + 1
        envelope = going.envelope
        try:
            self._announce_start(parcel, envelope)
            going.outcome = await self.runner.execute_async(envelope, attempt=attempt)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends here
            going.outcome = self.runner.broken(envelope, error, attempt=attempt)
        self._tell(partial(self._take_end, going))

    def _give_thread(self) -> None:
        going = self.waiting
        if going is not None and self.threads.has_room:
            self.waiting, going.is_in_thread = None, True
            self.threads.start(partial(self._run_in_thread, going))

    def _run_in_thread(self, going: Going) -> None:
        parcel, envelope = going.parcel, going.envelope
        try:
            going.outcome = self.run_task(parcel, envelope)
            going.settled = self.atomic_runs.take_settled(going.outcome)
        except NotRun as error:
            going.error = error
        except BaseException as error:  # noqa: BLE001 - a limit that came at the very end
            attempt = parcel.attempts + 1
            going.outcome = self.runner.broken(envelope, error, attempt=attempt)
        self._tell(partial(self._take_end, going))

    def _announce_start(self, parcel: Parcel, envelope: Envelope) -> None:
        pace = self.row[Cell.PACE]
        is_short = pace and pace < SHORT_RUN * 1e6 * self.options.concurrency
        label = remarks.label_of(envelope)
        self.places.name(self.begun[parcel.number].ticket, label)
        if parcel.text:
            allowed = deliveries_allowed(envelope, self.options)
            remarks.say_started_again(envelope, parcel, allowed)
        elif not is_short:
            remarks.say_started(envelope, self.title)

    def _show(self, number: int, state: State, limit: float | None) -> None:
        self.places.show(self.begun[number].ticket, state, limit)

    def _rest(self, number: int) -> None:
        self.places.end(self.begun.pop(number).ticket)

    # -- ending

    def _tell(self, what: Callable[[], None]) -> None:
        """Have the thread that has the lines do something."""
        self.news.append(what)
        self.bell.ring()

    def _hear_threads(self) -> None:
        self.bell.hush()
        while self.news:
            self.has_moved = True
            self.news.popleft()()

    def _take_end(self, going: Going) -> None:
        parcel = going.parcel
        if going.is_in_thread:
            self.threads.ended()
            self._give_thread()
        if isinstance(going.error, NotBegun):
            self.not_before = monotonic() + self.atomic_runs.put_off(going.error)
            self._drop(parcel)
        elif going.outcome is not None:
            self.conclude(parcel, going.outcome, going.settled)
        else:
            self._leave_to_others(parcel, going.envelope)

    def see_off(self, number: int) -> None:
        """It keeps its place until this report is on its way."""
        self.on_way.append(number)

    def _clear_places(self) -> None:
        monitor = self.monitor
        if not self.on_way or monitor is None or monitor.is_waiting:
            return
        now, numbers, self.on_way = monotonic(), self.on_way, []
        for number in numbers:
            begun = self.begun[number].moment
            self._rest(number)
            self._measure(now - begun)
        self.runner.tidy()
        if not self.is_retiring:
            self.consider_retiring()

    def finish(self, number: int, outcome: Outcome, is_last: bool) -> None:
        """Hooks have a thread of their own: neither they nor tasks wait for each other."""
        self.hooks.start(partial(self._finish_aside, number, outcome, is_last))

    def _finish_aside(self, number: int, outcome: Outcome, is_last: bool) -> None:
        limit = self.runner.limit_of(outcome.envelope)
        ticket = self.places.begin_hook(number, limit)
        try:
            within = partial(self.runner.call_within, limit)
            key = self.launch.list_key
            results.finish(
                outcome, self.options, within=within, list_key=key, is_last=is_last
            )
        finally:
            self.places.end(ticket)
            self._tell(self.hooks.ended)

    # -- after it

    def consider_retiring(self) -> None:
        """Unless so many others do that too few would be left: what they still run may
        take long.
        """
        others = sum(row[Cell.RETIRING] for row in self.board.rows)
        if others < self.options.worker_count:
            super().consider_retiring()
            self.row[Cell.RETIRING] = int(self.is_retiring)

    def _drop_unbegun(self) -> None:
        """It is left to others."""
        self.inbox.clear()
        if self.waiting is not None and self.is_stopping:
            going, self.waiting = self.waiting, None
            self._drop(going.parcel)

    def _say_room(self) -> None:
        """Tell the pusher, and whoever looks at the processes."""
        if not self.has_moved:
            return
        self.has_moved = False
        leaves = self._is_leaving or self.waiting is not None
        self.row[Cell.ROOM] = 0 if leaves else self.places.free
        if len(self.inbox) <= self.low_water:
            self._tell_pusher(Kind.WANT)
        if monotonic() >= self.next_title:
            self.next_title = monotonic() + TITLE_EVERY
            count = len(self.begun)
            self._set_title(f"{count} tasks" if count else "idle")


class Bell:
    """Wakes the thread that waits for lines; any other one may ring."""

    def __init__(self) -> None:
        self._ears, self._mouth = socket.socketpair()
        self._ears.setblocking(False)
        self._mouth.setblocking(False)
        self._has_rung = False

    def fileno(self) -> int:
        return self._ears.fileno()

    def ring(self) -> None:
        if not self._has_rung:
            self._has_rung = True
            with suppress(BlockingIOError):
                self._mouth.send(b"!")

    def hush(self) -> None:
        """Whoever rings from now on wakes it again."""
        with suppress(BlockingIOError):
            self._ears.recv(64)
        self._has_rung = False

    def close(self) -> None:
        self._ears.close()
        self._mouth.close()
