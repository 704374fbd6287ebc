"""Cluster: the root of all processes; starts, restarts and stops the sentinel."""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Final

from django_q import clock
from django_q.brokers import Broker, get_broker
from django_q.cluster.board import Board, Cell, State, Word
from django_q.cluster.children import (
    Child,
    Spawner,
    prepare_method,
    sentinel_method,
)
from django_q.cluster.frames import Kind, control
from django_q.cluster.greeting import greeting, versions
from django_q.cluster.launching import (
    RingingEvent,
    close_connections,
    make_bell,
    make_launch,
    make_lock_file,
    places_for,
    rows_for,
)
from django_q.cluster.lines import wait_for_news
from django_q.cluster.lockfile import LockFile
from django_q.cluster.remains import end_remains
from django_q.cluster.replaced import find_replaced, without_places
from django_q.cluster.roles import LONGEST_PAUSE, Identity
from django_q.cluster.sentinel import INTERRUPTED
from django_q.cluster.storm import Storm
from django_q.cluster.trouble import Trouble
from django_q.conf import get_options
from django_q.logs import logger
from django_q.options import Options
from django_q.signing import require_key
from django_q.status import Stat

ROOT_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGQUIT")
START_PATIENCE: Final = 60.0
"""Seconds within which a sentinel must have all its roles at work."""


class Cluster:
    """A cluster of this project on this host.

    `start()` returns when it runs; `guard()` then watches it until it has stopped, and
    `stop()` stops it. A process that ends without either guards it then. Installs
    handlers for TERM, INT and QUIT when it is made in the main thread: the first signal
    stops the cluster, a second one hurries it.
    """

    is_whole_program = False
    """This process has nothing else to do: the others may be forks of it."""

    def __init__(self, broker: Broker | None = None) -> None:
        self.broker = self._given_broker = broker
        self.options: Options = get_options()
        self.cluster_id = uuid.uuid4()
        self.host = socket.gethostname()
        self.pid: int | None = os.getpid()
        self.name = f"{self.options.name}-{self.host}-{self.pid}"
        self.tob = clock.now()
        self.timeout: float | None = None
        self.sentinel: BaseProcess | None = None
        self.start_event: Any = None
        """Set while all roles work. Events of this process: others can't be given them."""

        self.stop_event: Any = None
        """Set when the cluster stops; whoever sets it stops the cluster."""

        self._child: Child | None = None
        self._lock_file: LockFile | None = None
        self._is_guarded = False
        self._trouble = Trouble()
        self._storm = Storm()
        self._begin_anew()
        if threading.current_thread() is threading.main_thread():
            self._install_handlers()

    def _begin_anew(self) -> None:
        self.exit_code = self._stops = 0
        self._has_hurried = False
        self._stopping_since = 0.0
        self._counted_before = (0, 0)
        self._ears, self._bell = make_bell()

    def _install_handlers(self) -> None:
        for name in ROOT_SIGNALS:
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, self.sig_handler)

    def sig_handler(self, _number: int, _frame: object) -> None:
        """Note the signal and wake the guard, which acts. While nobody guards, stop."""
        self._stops += 1
        self._ring()
        if not self._is_guarded:
            self.stop()

    # -- life

    def start(self) -> int:
        """Start the cluster; gives the pid of the root once all its roles work.

        Raises RuntimeError when the sentinel ends before that, ConfigurationError without
        a SECRET_KEY. What has stopped may be started again.
        """
        require_key()
        if self._ears.fileno() < 0:
            self._begin_anew()
        logger.info("Q Cluster %s starting: %s", self.name, versions())
        for line in greeting(self.options, self._own_broker()):
            logger.info("%s", line)
        for caution in self._own_broker().cautions():
            logger.warning("%s", caution)
        self.start_event = threading.Event()
        self.stop_event = RingingEvent(self._ring)
        with self._guarding():
            self._make_spawner()
            self._spawn_sentinel()
            atexit.register(self._guard_at_exit)
            self._wait_until_running()
            self._pass_on_signals()
        return os.getpid()

    def _wait_until_running(self) -> None:
        until = monotonic() + START_PATIENCE
        while not self.start_event.is_set() and not self._stops:
            self._listen(0.5)
            if not self._sentinel_lives() or monotonic() > until:
                self._bury_sentinel()
                if self._lock_file is not None:
                    self._lock_file.leave(is_clean=False)
                message = f"Q Cluster {self.name} failed to start"
                raise RuntimeError(message)

    def guard(self) -> int:
        """Watch until the cluster has stopped; gives the exit code of the command."""
        with self._guarding():
            while self._child is not None:
                self._pass_on_signals()
                is_told = self._child.tells_its_end
                self._listen(LONGEST_PAUSE if is_told else 1.0)
                if not self._sentinel_lives():
                    self._sentinel_ended()
        self._ears.close()
        self._bell.close()
        if self._lock_file is not None:
            self._lock_file.leave(is_clean=self.exit_code in (0, INTERRUPTED))
        atexit.unregister(self._guard_at_exit)
        return self.exit_code

    @contextmanager
    def _guarding(self) -> Iterator[None]:
        """Signals are only noted meanwhile."""
        before, self._is_guarded = self._is_guarded, True
        try:
            yield
        finally:
            self._is_guarded = before

    def _guard_at_exit(self) -> None:
        """The program has come to its end, and the cluster has not."""
        if os.getpid() == self.pid:
            self.guard()

    def stop(self) -> bool:
        """Stop the cluster and wait for its end; False if it does not run."""
        if self._child is None:
            return self._stop_foreign()
        if not self._sentinel_lives():
            return False
        self._stops = max(self._stops, 1)
        self._ring()
        self.guard()
        return True

    def _stop_foreign(self) -> bool:
        """Stop a sentinel that was started by a subclass, with events of its own."""
        if self.sentinel is None or not self.sentinel.is_alive():
            return False
        self._stops = max(self._stops, 1)
        self.stop_event.set()
        self.sentinel.join()
        self.sentinel = None
        return True

    def drain(self) -> None:
        """Ask for the stop as soon as the queue is empty and nothing runs."""
        looks = 0
        with self._guarding():
            while self._stops == 0 and self._child is not None and looks < 2:
                self._listen(0.1)
                if not self._sentinel_lives():
                    self._sentinel_ended()
                # Twice: a link of a chain may go up and a package come down between
                # the look at the queue and the one at the board.
                looks = looks + 1 if self._has_drained() else 0
        self._stops = max(self._stops, 1)

    # -- what others may ask

    @property
    def stat(self) -> Any:
        """The cluster's vital signs; a plain Status when there are none."""
        own = self._own_broker()
        return Stat.get(pid=os.getpid(), cluster_id=self.cluster_id, broker=own)

    @property
    def is_starting(self) -> bool:
        return self.sentinel is not None and not self.start_event.is_set()

    @property
    def is_running(self) -> bool:
        return self.sentinel is not None and bool(self.start_event.is_set())

    @property
    def is_stopping(self) -> bool:
        return self._stops > 0 and self.sentinel is not None

    @property
    def has_stopped(self) -> bool:
        return self._stops > 0 and self.sentinel is None

    # -- the sentinel

    def _make_spawner(self) -> None:
        method = prepare_method(self.options, whole=self.is_whole_program)
        context = multiprocessing.get_context(method)
        self.board = Board(context, rows_for(self.options), places_for(self.options))
        identity = Identity(
            id=self.cluster_id.hex,
            label=self.name,
            host=self.host,
            pid=os.getpid(),
            born=self.tob.isoformat(),
        )
        replaced, warnings = find_replaced()
        for warning in warnings:
            logger.warning("%s", warning)
        broker = self._own_broker()
        launch = make_launch(identity, self.options, self.board, broker.list_key)
        self._lock_file = make_lock_file(identity, self.options, broker)
        template = replace(
            launch,
            broker=self._given_broker,
            replaced=replaced,
            options=without_places(self.options, replaced),
            lock_file=self._lock_file,
            method=method,
        )
        self._spawner = Spawner(template, sentinel_method(method), "-")

    def _spawn_sentinel(self) -> None:
        self._own_broker().before_fork()
        close_connections(self.options, f"Q Cluster {self.name}")
        if not self.is_whole_program:
            # Clients that the program has dropped may be open until they are collected.
            gc.collect()
        self._child = self._spawner.spawn("sentinel", (self._bell, self._ears))
        self.sentinel = self._child.process

    def _sentinel_lives(self) -> bool:
        return self._child is not None and self._child.process.is_alive()

    def _sentinel_ended(self) -> None:
        code = self._bury_sentinel()
        if self._stops and code in (0, INTERRUPTED):
            self.exit_code = code
            self._say_stopped()
            return
        self._storm.note_death("sentinel")
        end_remains(self.board)
        if self._stops or not self._storm.permits("sentinel"):
            logger.critical("Q Cluster %s: sentinel ended with %s", self.name, code)
            self.exit_code = 1
            return
        text = "Q Cluster %s: sentinel ended with %s; restarting"
        logger.critical(text, self.name, code)
        self.start_event.clear()
        self._spawn_sentinel()

    def _bury_sentinel(self) -> int:
        """Collect the ended sentinel; gives its exit code."""
        sentinel = self._child
        if sentinel is None:
            return 0
        self._hear(sentinel)
        sentinel.kill()
        sentinel.reap()
        self._child = self.sentinel = None
        code = sentinel.process.exitcode
        return 1 if code is None else code

    # -- news

    def _listen(self, timeout: float) -> None:
        if self._child is None:
            return
        handles = [self._ears.fileno()]
        if self._child.handle is not None:
            handles.append(self._child.handle)
        wait_for_news([self._child.line], timeout, handles)
        with suppress(BlockingIOError):
            self._ears.recv(4096)
        self._hear(self._child)

    def _hear(self, sentinel: Child) -> None:
        for frame in sentinel.line.receive():
            if frame.kind is Kind.RUNNING:
                self.start_event.set()
                text = (
                    "Q Cluster %s running. Ctrl-C finishes the tasks in hand and stops;"
                )
                logger.info(f"{text} twice gives them 5 s.", self.name)
            elif frame.kind is Kind.STOPPING:
                self._say_stopping(frame.facts)

    def _ring(self) -> None:
        with suppress(OSError):
            self._bell.send(b"!")

    def _pass_on_signals(self) -> None:
        """Tell the sentinel to stop, and a second time to hurry."""
        if self._child is not None and self.stop_event.is_set():
            self._stops = max(self._stops, 1)
        if self._child is None or self._stops == 0:
            return
        if not self._stopping_since:
            self._stopping_since = monotonic()
            self._counted_before = self.board.done_with()
            self.stop_event.set()
            self._child.line.send(control(Kind.STOP))
        if self._stops > 1 and not self._has_hurried:
            self._has_hurried = True
            logger.warning("Second signal: grace cut to 5 s.")
            self._child.line.send(control(Kind.STOP, cut=True))

    def _say_stopping(self, facts: dict[str, int]) -> None:
        text = (
            "Q Cluster %s stopping: %s tasks running, %s fetched go back to the broker."
        )
        logger.info(text, self.name, facts["running"], facts["returned"])

    def _say_stopped(self) -> None:
        took = monotonic() - self._stopping_since
        counts = zip(self.board.done_with(), self._counted_before, strict=True)
        finished, returned = (now - before for now, before in counts)
        held = self.board[Word.HELD]
        rest = f"{held} not settled" if held else "0 lost"
        text = "Q Cluster %s has stopped: %.0f s, %s finished, %s returned, %s."
        logger.info(text, self.name, took, finished, returned, rest)

    # -- helpers

    def _has_drained(self) -> bool:
        """Nothing waits, runs or is unsaved. Upstream first: tasks move downstream."""
        board = self.board
        if self._count_queued() or board[Word.WAITING]:
            return False
        rows = [row for row in board.rows if row.pid]
        if any(r.turn.state is not State.IDLE or r[Cell.KEPT] for r in rows):
            return False
        return not board[Word.UNSAVED] and not board[Word.WAITING]

    def _count_queued(self) -> int:
        """Packages that wait at the broker; more than none while it can't be asked."""
        if self._trouble.rest:
            return 1
        try:
            count = self._own_broker().queue_size()
        except Exception as error:  # noqa: BLE001 - any client's errors end here
            self._trouble.begin(f"Q Cluster {self.name} can't ask the broker", error)
            return 1
        self._trouble.end(f"Q Cluster {self.name}: the broker works")
        return count

    def _own_broker(self) -> Broker:
        self.broker = self.broker or get_broker()
        return self.broker


__all__ = ["Cluster"]
