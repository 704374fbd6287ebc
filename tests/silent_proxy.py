"""SilentProxy: a way to a server on which everything can stop, with no end in sight."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.servers import ADDRESS


class SilentProxy:
    """Forwards what comes, until it falls silent: as when a cable is pulled, connections
    stay open, and nothing comes through them any more. New ones go through again.
    """

    def __init__(self, port: int) -> None:
        self._far_port = port
        self._listener = socket.create_server((ADDRESS, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._ends: list[socket.socket] = []
        self._deaf: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_error: object) -> None:
        for end in (self._listener, *self._ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    @property
    def connections(self) -> int:
        """How many there ever were."""
        return len(self._ends) // 2

    def fall_silent(self) -> None:
        """On all connections that there are."""
        self._deaf.update(self._ends)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((ADDRESS, self._far_port))
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    self._threads.append(
                        threading.Thread(target=self._forward, args=pair)
                    )
                    self._threads[-1].start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while some := source.recv(65536):
                if source not in self._deaf:
                    target.sendall(some)
            if source not in self._deaf:
                target.shutdown(socket.SHUT_RDWR)
