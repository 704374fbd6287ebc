"""Outages: what can befall a server, a network, a disk and a file."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import psutil
from django.db import connection, connections

from tests.acceptance.harness import signal_all
from tests.faults.places import Place
from tests.proxy import Proxy
from tests.servers import PostgreSQL, Server
from tests.waiting import wait_until

SPARE: Final = 32 * 1024 * 1024
"""Bytes that a small disk has left at first: servers want some to start with."""


def processes(server: Server) -> list[psutil.Process]:
    """All of a server; the first one starts the others."""
    first = psutil.Process(server.pid)
    return [first, *first.children(recursive=True)]


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """It stands still, and its connections with it."""
    still = processes(server)
    signal_all(still, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(still, signal.SIGCONT)


@contextmanager
def killed(place: Place) -> Iterator[None]:
    """Its queue's server has crashed; afterwards it is started again."""
    if place.kind == "sqs":
        # Amazon keeps what it was given. moto has it in memory only: so it is not killed
        # but out of reach, and whoever calls is refused.
        with out_of_reach(place.queue_network):
            yield
        return
    assert place.server is not None
    kill(place.server)
    with come_back_afterwards(place.server):
        yield


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """It was stopped in order; afterwards it is started again."""
    server.end_process()
    with come_back_afterwards(server):
        yield


@contextmanager
def come_back_afterwards(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        server.come_back()
        # Those of the test are broken too.
        connections.close_all()


def kill(server: Server) -> None:
    """None of its processes gets to say a word."""
    doomed = processes(server)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        signal_all(doomed, number)
    process, server.process = server.process, None
    if process is not None:
        process.wait(10)
    wait_until(lambda: all(map(has_ended, doomed)))
    if server.pid_file is not None:
        # Its parent may not have noticed: the next one would take it for alive.
        server.pid_file.unlink()


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def out_of_reach(network: Proxy | None) -> Iterator[None]:
    """All connections break, and new ones are refused."""
    assert network is not None
    with mended_afterwards([network]):
        network.cut()
        yield


@contextmanager
def partition(place: Place) -> Iterator[None]:
    """Nothing comes through to any server, and nobody is told so."""
    with mended_afterwards(place.networks):
        for network in place.networks:
            network.freeze()
        yield


@contextmanager
def slowed_down(place: Place, seconds: float) -> Iterator[None]:
    """Everything takes so much longer, each way."""
    with mended_afterwards(place.networks):
        for network in place.networks:
            network.slow_down(seconds)
        yield


@contextmanager
def mended_afterwards(networks: Iterable[Proxy]) -> Iterator[None]:
    try:
        yield
    finally:
        for network in networks:
            network.mend()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Somebody else writes to this SQLite database, and takes his time."""
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        yield
        writer.execute("ROLLBACK")


class Disk:
    """A small disk, on which these files and folders are meanwhile."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="django-q-disk-"))
        size = sum(map(size_of, self.paths)) + SPARE
        options = f"size={size},mode=777"
        run("mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder)
        for path in self.paths:
            run("mv", path, self.folder)
            path.symlink_to(self.folder / path.name)
        return self

    def __exit__(self, *_error: object) -> None:
        for path in self.paths:
            path.unlink()
            run("mv", self.folder / path.name, path)
        run("umount", "--lazy", self.folder)
        self.folder.rmdir()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Somebody else takes all that is left."""
        filler = self.folder / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        try:
            yield
        finally:
            filler.unlink()


@contextmanager
def small_disk_for(server: Server | None) -> Iterator[Disk]:
    """What this server keeps is on a small disk; None: the file of SQLite."""
    if server is None:
        connections.close_all()
        with Disk(Path(connection.settings_dict["NAME"])) as disk:
            yield disk
            connections.close_all()
        return
    # The log of PostgreSQL's writes is elsewhere: it does without nothing but that.
    data = server.data / "base" if isinstance(server, PostgreSQL) else server.data
    with ExitStack() as stack:
        stack.enter_context(stopped(server))
        disk = stack.enter_context(Disk(data))
        with ExitStack() as running:
            server.come_back()
            running.callback(server.end_process)
            connections.close_all()
            yield disk


def size_of(path: Path) -> int:
    files = [path, *path.rglob("*")]
    return sum(file.stat().st_size for file in files)


def run(*words: str | Path) -> None:
    subprocess.run(words, check=True)
