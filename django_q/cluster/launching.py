"""Launching: what the first of a cluster's processes is given, and gives to others."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

from django.core.cache import caches
from django.db import connections

from django_q.brokers import Broker
from django_q.cluster.board import Board
from django_q.cluster.lockfile import LockFile, boot_id, private_folder
from django_q.cluster.roles import Identity, Launch
from django_q.conf import Conf
from django_q.logs import clean, console_level, logger
from django_q.masking import mask
from django_q.options import PLACE, Options


def make_launch(
    identity: Identity, options: Options, board: Board, list_key: str
) -> Launch:
    """What a sentinel starts with, but for its line to the root."""
    return Launch(
        kind="sentinel",
        generation=0,
        title="Process",
        identity=identity,
        options=options,
        board=board,
        control=None,
        list_key=list_key,
        databases={c.alias: c.settings_dict["NAME"] for c in connections.all()},
        others=Conf.others,
        assigned=Conf.assigned,
        console_level=console_level(),
    )


def make_lock_file(
    identity: Identity, options: Options, broker: Broker
) -> LockFile | None:
    """That of this cluster, held by this process. None where there can be none, or the
    broker does not know what a cluster holds.
    """
    if not (broker.supports_leases and boot_id()):
        return None
    try:
        lock_file = LockFile(private_folder(), key_of(options, broker), identity.id)
        lock_file.create()
    except OSError as error:
        text = "%s: no lock file (%s): after a crash tasks wait for their lease"
        logger.warning(text, identity.label, clean(error))
        return None
    return lock_file


def key_of(options: Options, broker: Broker) -> str:
    """What clusters have in common that serve the same queue under the same kernel."""
    place = mask("", {name: getattr(options, name) for name in PLACE})
    facts = [boot_id(), broker.list_key, place]
    if broker.database is not None:
        database = connections[broker.database].settings_dict
        facts += [str(database[word]) for word in ("ENGINE", "NAME", "HOST", "PORT")]
    text = json.dumps(facts, default=_name_of, skipkeys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _name_of(value: Any) -> str:
    """What stands for a client, or the function that makes one, in every process."""
    return getattr(value, "__qualname__", type(value).__name__)


def rows_for(options: Options) -> int:
    """Rows that the board needs: also for workers that retire or are not buried yet."""
    return 2 * options.worker_count + 2


def places_for(options: Options) -> int:
    """Places that each of them needs: one more than tasks, for hooks."""
    return options.concurrency + 1 if options.concurrency > 1 else 0


def close_connections(options: Options, whose: str) -> None:
    """No open connection may cross a fork. Tests in a transaction keep theirs."""
    if options.sync:
        text = "%s: 'sync' is set, so open connections stay open."
        logger.warning(text, whose)
        return
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
    caches.close_all()


class RingingEvent(threading.Event):
    """Wakes whoever sleeps until something happens, when it is set."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self._ring = ring

    def set(self) -> None:
        super().set()
        self._ring()


def make_bell() -> tuple[socket.socket, socket.socket]:
    """Two ends: ringing at the one wakes whoever listens at the other."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends
