"""Role: how any child of the sentinel boots, turns, notices its end, and leaves."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import sleep
from typing import Any, ClassVar, Final

from django_q.cluster.board import Board
from django_q.cluster.frames import Frame, Kind, control
from django_q.cluster.keepalive import watch_databases
from django_q.cluster.lines import Glance, Line, wait_for_news
from django_q.cluster.lockfile import LockFile
from django_q.cluster.titles import set_title
from django_q.logs import logger
from django_q.options import Options

ORPHAN_GRACE: Final = 4.0
"""Seconds that a child whose parent is gone may still take to leave by itself."""

LONGEST_PAUSE: Final = 5.0
"""Seconds after which an idle role looks round without being called."""

OUTSIDE_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""Signals on which only the root acts."""


@dataclass(frozen=True)
class Identity:
    """Which cluster this is."""

    id: str
    """32 hexadecimal digits."""
    label: str
    """As log and screens show it: NAME-HOST-PID."""
    host: str
    pid: int
    born: str
    """ISO 8601."""


@dataclass(frozen=True)
class Launch:
    """Everything that a child is given when it starts; can be pickled."""

    kind: str
    generation: int
    title: str
    """Its name in the log: Process-1:3."""
    identity: Identity
    options: Options
    board: Board
    control: object
    """The child's end of its line to the sentinel: a socket."""
    method: str = ""
    """How the sentinel starts the others."""
    list_key: str = ""
    """What the broker calls the queue; the keys of cached results begin with it."""
    broker: Any = None
    """The broker that the cluster was given; None: each makes its own."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Roles whose function a project has replaced, and the path of its own."""
    row: int = -1
    """A worker's row on the board."""
    databases: dict[str, str] = field(default_factory=dict)
    """Names of the databases in use: a test run's differ from the settings'."""
    others: dict[str | None, Options] = field(default_factory=dict)
    """What the other clusters of the site read in the settings; under None, the base."""
    assigned: dict[str, Any] = field(default_factory=dict)
    """What was assigned to Conf at run time."""
    lock_file: LockFile | None = None
    """What each process holds, where it can: the proof that it lives."""
    console_level: str | None = None
    """Level of the console log, where the command attached one."""
    foreign: Sequence[object] = ()
    """Sockets that a forked child inherits and closes first."""
    dies_with_parent: bool = False
    """The kernel kills the child when its parent ends: those of fork and spawn on Linux
    that start no processes.
    """


class Role:
    """A child process of the sentinel. Subclasses say what one turn is."""

    kind: ClassVar[str]
    has_lifeline: ClassVar[bool] = True

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.options = launch.options
        self.board = launch.board
        self.title = launch.title
        self.control = Line(launch.control)  # type: ignore[arg-type]
        self._met: list[Line] = []
        self._has_heard = False
        self.is_stopping = False
        self.has_left = False
        self.exit_code = 0

    def run(self) -> None:
        """Live: set up, turn until it is time, tear down."""
        if is_hung_up(self.control.fileno()):
            # Whoever started it is gone, or has started another one instead.
            return
        if self.has_lifeline:
            Lifeline(self.control.fileno()).start()
        set_title(self.options.name, self.kind)
        watch_databases()
        self.setup()
        try:
            self.control.send(control(Kind.READY))
            # Who is an orphan by now takes no turn: the cluster may count as dead.
            self.listen((), 0.0)
            # The first turn acts on what was said: no news may come after a stop.
            self._has_heard = True
            while not self.has_left and not self.is_orphan():
                self.turn()
        finally:
            self.teardown()
            for line in (*self._met, self.control):
                line.close()

    def is_orphan(self) -> bool:
        """Whether the parent is gone."""
        if self.control.closed:
            logger.critical("%s: parent gone; stopping", self.title)
        return self.control.closed

    def setup(self) -> None:
        """Open what this role needs."""

    def turn(self) -> None:
        """One unit of work; returns soon."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Close what was opened."""

    def listen(
        self,
        lines: Sequence[Line],
        timeout: float,
        fds: Sequence[int] = (),
        glance: Glance | None = None,
    ) -> set[int]:
        """Wait for news on the given lines and on the sentinel's, and answer the latter.

        Gives the file numbers that can be read.
        """
        if self._has_heard:
            self._has_heard, timeout = False, 0.0
        readable = wait_for_news((self.control, *lines), timeout, fds, glance)
        if self.control.fileno() in readable:
            for frame in self.control.receive():
                self.obey(frame)
        return readable

    def obey(self, frame: Frame) -> None:
        """Do what the sentinel says."""
        if frame.kind is Kind.STOP:
            self.is_stopping = True
        elif frame.kind is Kind.INTRODUCE:
            facts = frame.facts
            line = self.control.take_handed()
            self._met = [*(known for known in self._met if not known.closed), line]
            self.meet(facts["peer"], facts["generation"], facts["row"], line)

    def meet(self, kind: str, generation: int, row: int, line: Line) -> None:
        """A peer is there: this is the line to it."""
        line.close()


class Lifeline(threading.Thread):
    """Ends this process when its parent is gone, even while a task runs.

    The process may leave by itself first. A thread, because the main one may be in
    users' code; it only ever waits, so that it costs nothing.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="django-q lifeline", daemon=True)
        self._descriptor = os.dup(descriptor)

    def run(self) -> None:
        poll = select.poll()
        # No event is asked for: a line that was hung up is reported all the same.
        poll.register(self._descriptor, 0)
        poll.poll()
        sleep(ORPHAN_GRACE)
        kill_group(os.getpid())


def is_hung_up(descriptor: int) -> bool:
    """Whether the other end of a line is closed, without a look at what it said."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return bool(poll.poll(0))


def kill_group(pid: int) -> None:
    """Kill a process and what it forked into its own group, also where it died before."""
    for send in (os.killpg, os.kill):
        # A pid that is free by now may be somebody else's.
        with suppress(ProcessLookupError, PermissionError):
            send(pid, signal.SIGKILL)


def hold_signals() -> None:
    """Let signals wait, so that none hits a child that has no handlers yet."""
    signal.pthread_sigmask(signal.SIG_BLOCK, OUTSIDE_SIGNALS)


def release_signals() -> None:
    """Let them come again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OUTSIDE_SIGNALS)


def ignore_outside_signals() -> None:
    """Leave it to the root to act on TERM and INT.

    Empty handlers instead of SIG_IGN: ignoring would survive in the programs that tasks
    start, and make them deaf.
    """
    for number in OUTSIDE_SIGNALS:
        signal.signal(number, lambda *_: None)
    # A fork of the root has its handler.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    os.register_at_fork(after_in_child=_restore_signals)


def _restore_signals() -> None:
    """A task's own fork gets the usual behaviour back."""
    for number in OUTSIDE_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent ends."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
