"""Children: processes that are started, watched by their handle, and reaped."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from socket import socket
from typing import Any, Final

from django_q.cluster.entrance import enter
from django_q.cluster.lines import Line
from django_q.cluster.roles import Launch, hold_signals, kill_group, release_signals
from django_q.logs import clean, logger
from django_q.options import Options

PATHS: Final = {
    "sentinel": "django_q.cluster.sentinel.Sentinel",
    "pusher": "django_q.cluster.pushing.Pusher",
    "monitor": "django_q.cluster.monitoring.Monitor",
    "housekeeper": "django_q.cluster.housekeeper.Housekeeper",
    "worker": "django_q.cluster.working.Worker",
}
"""Roles by dotted path, so that who supervises them need not import them."""

SEVERAL: Final = {
    "pusher": "django_q.cluster.concurrent_pushing.ConcurrentPusher",
    "worker": "django_q.cluster.concurrent_working.ConcurrentWorker",
}
"""Those that differ where each worker runs several tasks at once."""

LENT: Final = {
    "housekeeper": ("scheduler", "django_q.legacy.lent.LentHousekeeper"),
    "worker": ("worker", "django_q.legacy.lent.LentWorker"),
}
"""Roles that call a project's own function, where it has replaced one of ours."""

PRELOAD: Final = "django_q.cluster.preload"
"""What the fork server imports. By its path: importing it loads the whole project."""

PATH_VARIABLE: Final = "DJANGO_Q_IMPORT_PATH"
"""Where the sentinel tells its import path: the fork server starts with a bare one."""

PRELOAD_VARIABLE: Final = "DJANGO_Q_PRELOAD"
"""And the project's modules that it is to import."""

ROLES_VARIABLE: Final = "DJANGO_Q_ROLES"
"""And the roles that it will start."""


@dataclass(eq=False)
class Child:
    """A started process and our line to it."""

    kind: str
    generation: int
    title: str
    process: BaseProcess
    line: Line
    row: int = -1
    handle: int | None = None
    """Descriptor that becomes readable when the process ends."""
    is_ready: bool = False
    is_retiring: bool = False
    judged_turn: int | None = None
    """A worker's turn when it was condemned."""
    cause: str = "lost"
    text: str = ""
    is_killed_by_us: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid or 0

    @property
    def tells_its_end(self) -> bool:
        """Whether the handle is that of the process itself, which nothing keeps silent."""
        return self.handle is not None and self.handle != self.process.sentinel

    def kill(self) -> None:
        """End it at once, with what it forked."""
        if self.process.is_alive():
            self.is_killed_by_us = True
            kill_group(self.pid)

    def reap(self) -> None:
        """Collect the ended process and let go of everything it had."""
        if self.handle is not None and self.tells_its_end:
            end_surely(self.handle)
            os.close(self.handle)
        self.process.join(1.0)
        self.line.close()

    def how_it_ended(self) -> str:
        """For messages: "died by signal 9 (SIGKILL)", "ended with exit code 7"."""
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        said = f"died by signal {-code}"
        with suppress(ValueError):
            said += f" ({signal.Signals(-code).name})"
        if -code == signal.SIGKILL and not self.is_killed_by_us:
            # So the kernel kills when memory runs out, and does not tell us why.
            said += ", perhaps for want of memory"
        return said


def end_surely(process: int) -> None:
    """End what may only seem to have ended: when a fork server dies, multiprocessing
    takes all its children for dead, and they must not run beside their successors.
    """
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, signal.SIGKILL)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.poll(1000)


def prepare_method(options: Options, *, whole: bool) -> str:
    """How processes start. Where this program forks them, it has by now what they share."""
    method = choose_method(options, whole=whole)
    if whole and method == "fork":
        import_early(options.preload)
        load_roles(paths_for(options).values())
        prepare_to_fork()
        # That may have started threads.
        method = choose_method(options, whole=whole)
    return method


def choose_method(options: Options, *, whole: bool = False) -> str:
    """How processes start: as the setting says, else what is best on this system.

    A `whole` program, which does nothing but run a cluster, has loaded the project, and
    nothing that a fork should not have, unless it has threads. Elsewhere a fork server loads the
    project once more, without what a fork of a running process drags along. It needs a
    settings module to load, and a program that its children may import.
    """
    available = multiprocessing.get_all_start_methods()
    if options.start_method:
        return options.start_method
    can_load = "DJANGO_SETTINGS_MODULE" in os.environ and has_main_guard()
    if not can_load and "fork" in available:
        return "fork"
    if sys.platform != "linux":
        return "spawn"
    return "fork" if whole and is_alone() else "forkserver"


def sentinel_method(method: str) -> str:
    """The sentinel is forked where that is possible: the root has no open connection, and
    a fork server is only worth its start for what comes after.
    """
    can_fork = is_alone() and "fork" in multiprocessing.get_all_start_methods()
    return "fork" if method == "forkserver" and can_fork else method


def is_alone() -> bool:
    """Whether there are no other threads, also none that a library started by itself: a
    fork inherits their locks and connections.
    """
    with suppress(OSError):
        return len(list(Path("/proc/self/task").iterdir())) == 1
    return threading.active_count() == 1


def import_early(modules: Iterable[str]) -> None:
    """Import modules of the project, so that workers that are forked have them at once.

    What can't be imported is left to the tasks that need it.
    """
    for name in modules:
        was_alone = is_alone()
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - modules do anything
            reason = f"{type(error).__name__}: {clean(error)}"
            logger.warning("preload: %s can't be imported: %s", clean(name), reason)
        if was_alone and not is_alone():
            text = "preload: %s starts a thread, which forked workers do not have"
            logger.warning(text, clean(name))


def load_roles(paths: Iterable[str]) -> None:
    """Load what children run, so that forks share it. Errors stay quiet here: each child
    repeats and reports them.
    """
    with suppress(Exception):
        for path in paths:
            importlib.import_module(path.rpartition(".")[0])


def prepare_to_fork() -> None:
    """Leave the memory as forks share most of it."""
    # Whoever collects garbage writes into all that could be some, and shares it no more.
    gc.freeze()
    # Loading leaves large holes, which the C library keeps for later.
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def has_main_guard() -> bool:
    """Whether the program asks if it is `__main__`.

    All children but forked ones import it under another name. One that does not ask
    would start a cluster of its own in each.
    """
    file = getattr(sys.modules["__main__"], "__file__", None)
    try:
        return file is None or b"__name__" in Path(file).read_bytes()
    except OSError:
        return True


class Spawner:
    """Starts children; each has a generation of its own among those of this spawner."""

    def __init__(self, template: Launch, method: str, joint: str = ":") -> None:
        self._template = template
        self._method = method
        self._joint = joint
        self._context: BaseContext = multiprocessing.get_context(method)
        self._count = 0
        if method == "forkserver":
            self._prepare_fork_server()

    def _prepare_fork_server(self) -> None:
        os.environ[PATH_VARIABLE] = json.dumps(sys.path)
        options = self._template.options
        os.environ[PRELOAD_VARIABLE] = json.dumps([*options.preload])
        os.environ[ROLES_VARIABLE] = json.dumps([*paths_for(options).values()])
        extra = ["uvloop"] if options.concurrency > 1 else []
        self._context.set_forkserver_preload([PRELOAD, *extra])

    def spawn(self, kind: str, foreign: Iterable[socket], row: int = -1) -> Child:
        """Start a child. `foreign` are the ends of lines that a fork of us would inherit."""
        try:
            return self._spawn(kind, foreign, row)
        except (EOFError, ConnectionError):
            # The fork server died amid it: another one is started. A child of the former
            # that may be there has lost its line, and takes no turn.
            return self._spawn(kind, foreign, row)

    def _spawn(self, kind: str, foreign: Iterable[socket], row: int) -> Child:
        self._count += 1
        ours, theirs = Line.pair()
        is_fork = self._method == "fork"
        launch = replace(
            self._template,
            kind=kind,
            generation=self._count,
            title=f"{self._template.title}{self._joint}{self._count}",
            control=theirs,
            row=row,
            foreign=[*foreign, ours] if is_fork else (),
            dies_with_parent=self._dies_with_parent(kind),
        )
        try:
            process = self._start(launch)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        handle = open_handle(process)
        line = Line(ours)
        return Child(kind, launch.generation, launch.title, process, line, row, handle)

    def _dies_with_parent(self, kind: str) -> bool:
        """The sentinel outlives the root for a moment, to end all others, and the lifeline
        of a worker ends also what its task has started.
        """
        return kind not in {"sentinel", "worker"} and self._method != "forkserver"

    def _is_daemon(self, kind: str) -> bool:
        """A daemon of multiprocessing may not have children of its own."""
        if kind == "worker":
            return self._template.options.daemonize_workers
        return kind != "sentinel"

    def _start(self, launch: Launch) -> BaseProcess:
        is_daemon = self._is_daemon(launch.kind)
        context: Any = self._context
        arguments = (path_of(launch), launch)
        process: BaseProcess = context.Process(
            target=enter, args=arguments, name=launch.title, daemon=is_daemon
        )
        hold_signals()
        try:
            process.start()
        finally:
            release_signals()
        return process


def path_of(launch: Launch) -> str:
    """The class of a role."""
    function, lent = LENT.get(launch.kind, ("", ""))
    if function in launch.replaced:
        return lent
    return paths_for(launch.options)[launch.kind]


def paths_for(options: Options) -> dict[str, str]:
    """The classes of all roles, before anything is replaced."""
    return PATHS | SEVERAL if options.concurrency > 1 else PATHS


def open_handle(process: BaseProcess) -> int:
    """A descriptor that tells when the process ends.

    On Linux that of the process itself: the one that multiprocessing keeps stays silent
    while a process that a task forked is alive.
    """
    if hasattr(os, "pidfd_open") and process.pid:
        with suppress(OSError):
            return os.pidfd_open(process.pid)
    return process.sentinel
