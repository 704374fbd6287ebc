"""Sentinel: the one of earlier releases, for projects that subclass it.

It runs in the process that makes it, starts the same roles as a cluster of today, and
asks its own methods to start each. Queues and timers of its workers are gone.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from dataclasses import replace
from multiprocessing.process import BaseProcess
from typing import Any
from uuid import UUID

from django.utils.functional import Promise

from django_q import clock
from django_q.brokers import Broker, get_broker
from django_q.cluster import sentinel as today
from django_q.cluster.board import Board
from django_q.cluster.children import Child, choose_method
from django_q.cluster.launching import (
    close_connections,
    make_launch,
    places_for,
    rows_for,
)
from django_q.cluster.lines import Line
from django_q.cluster.replaced import find_replaced, without_places
from django_q.cluster.roles import Identity, Launch, ignore_outside_signals
from django_q.conf import get_options
from django_q.logs import logger
from django_q.options import Options
from django_q.status import STATES

__all__ = ["Sentinel"]


class Sentinel:
    """Watches the processes of a cluster until `stop_event` is set.

    The constructor runs this whole life, unless `start` is False. Subclasses may
    override `spawn_worker`, `spawn_monitor`, `spawn_pusher`, `guard` and `stop`, and
    call the inherited ones.
    """

    def __init__(
        self,
        stop_event: Any,
        start_event: Any,
        cluster_id: UUID | str,
        broker: Broker | None = None,
        timeout: float | None = None,
        start: bool = True,
    ) -> None:
        options = get_options()
        parent = multiprocessing.parent_process()
        self.stop_event = stop_event
        self.start_event = start_event
        self.cluster_id = cluster_id
        self.broker = broker or get_broker()
        self.timeout = timeout or options.timeout
        self.pool_size = options.worker_count
        self.name = multiprocessing.current_process().name
        self.pid = os.getpid()
        self.parent_pid = self.pid if parent is None else parent.pid
        self.tob = clock.now()
        self._engine: Engine | None = None
        if start:
            self.start()

    # -- life

    def start(self) -> None:
        """Start all roles, and watch them until the end."""
        self.broker.ping()
        if multiprocessing.parent_process() is not None and _is_main_thread():
            ignore_outside_signals()
        try:
            self.spawn_cluster()
            self.guard()
        finally:
            if self._engine is not None:
                self._engine.close()

    def spawn_cluster(self) -> None:
        """Start each role once, and as many workers as the pool is to have."""
        options = replace(get_options(), workers=self.pool_size, timeout=self.timeout)
        # As the database's, no connection of the broker may cross a fork.
        self.broker.close()
        close_connections(options, self.name)
        self._engine = Engine(self, options)
        self._engine.setup()
        self._engine.revive()

    def guard(self) -> None:
        """Replace what ends, until the stop event is set or the parent has gone."""
        engine = self._running_engine()
        self.start_event.set()
        while not (self.stop_event.is_set() or _is_orphan()):
            engine.turn()
        self.stop()

    def stop(self) -> None:
        """Let running tasks end, save them, and end all processes."""
        engine = self._running_engine()
        engine.farewell.begin(cut=False)
        while not engine.has_left:
            engine.turn()
        engine.close()
        logger.info("%s has stopped", self.name)

    # -- starting a role

    def spawn_worker(self) -> BaseProcess:
        """Start the worker that is missing."""
        return self._running_engine().spawn_asked("worker")

    def spawn_monitor(self) -> BaseProcess:
        """Start the monitor that is missing."""
        return self._running_engine().spawn_asked("monitor")

    def spawn_pusher(self) -> BaseProcess:
        """Start the pusher that is missing."""
        return self._running_engine().spawn_asked("pusher")

    # -- what others may ask

    @property
    def pool(self) -> list[BaseProcess]:
        """The processes of the workers."""
        engine = self._engine
        return [child.process for child in engine.pool.workers] if engine else []

    @property
    def monitor(self) -> BaseProcess | None:
        return self._single("monitor")

    @property
    def pusher(self) -> BaseProcess | None:
        return self._single("pusher")

    @property
    def reincarnations(self) -> int:
        """How many processes were replaced."""
        return self._engine.reincarnations if self._engine else 0

    def status(self) -> str | Promise:
        """One of the states in Conf, translated."""
        if self._engine is None:
            return STATES["Starting"]
        return STATES["Stopped" if self._engine.has_left else self._engine.state()]

    def _single(self, kind: str) -> BaseProcess | None:
        child = self._engine.singles.get(kind) if self._engine else None
        return child.process if child else None

    def _running_engine(self) -> Engine:
        if self._engine is None:
            message = "The cluster was not started: call start() or spawn_cluster()."
            raise RuntimeError(message)
        return self._engine


class Engine(today.Sentinel):
    """The sentinel that does the work, and lets its owner start each role."""

    def __init__(self, owner: Sentinel, options: Options) -> None:
        self._owner = owner
        self._asked: tuple[str, int] | None = None
        self._spawned: list[Child] = []
        # Nobody hears at the other end; while it is open, the parent is there.
        self._other_end, control = Line.pair()
        launch = launch_of(owner, options)
        super().__init__(replace(launch, control=control))

    def spawn(self, kind: str, row: int = -1) -> Child:
        start = getattr(self._owner, f"spawn_{kind}", None)
        if start is None:
            return super().spawn(kind, row)
        self._asked = kind, row
        start()
        if not self._spawned:
            message = f"spawn_{kind}() must call the method that it overrides."
            raise RuntimeError(message)
        return self._spawned.pop()

    def spawn_asked(self, kind: str) -> BaseProcess:
        """Start what the owner was asked for."""
        if self._asked is None or self._asked[0] != kind:
            message = f"No {kind} is missing: the sentinel itself says when one is."
            raise RuntimeError(message)
        _kind, row = self._asked
        child = super().spawn(kind, row)
        self._asked, self._spawned = None, [child]
        return child.process

    def close(self) -> None:
        """End whatever is left. Doing so twice is harmless."""
        self.teardown()
        self.control.close()
        self._other_end.close()


def launch_of(owner: Sentinel, options: Options) -> Launch:
    """What a sentinel of today would be started with."""
    method = choose_method(options)
    context = multiprocessing.get_context(method)
    host = socket.gethostname()
    pid = owner.parent_pid or owner.pid
    identity = Identity(
        id=UUID(str(owner.cluster_id)).hex,
        label=f"{options.name}-{host}-{pid}",
        host=host,
        pid=pid,
        born=owner.tob.isoformat(),
    )
    replaced, warnings = find_replaced()
    for warning in warnings:
        logger.warning("%s", warning)
    board = Board(context, rows_for(options), places_for(options))
    launch = make_launch(identity, options, board, owner.broker.list_key)
    return replace(
        launch,
        title=owner.name,
        broker=owner.broker,
        replaced=replaced,
        options=without_places(options, replaced),
        method=method,
    )


def _is_orphan() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
