"""What the servers of this folder have in common: a port, and a thread for each line."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress
from typing import Any, Self

ADDRESS = "127.0.0.1"


class LineServer:
    """A server in threads of this process. Subclasses say how it converses on a line."""

    def __init__(self, port: int = 0) -> None:
        self._lines: set[socket.socket] = set()
        server = self

        class Line(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                server.serve(self.connection, self.rfile)

        class Listener(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 64

        self._listener = Listener((ADDRESS, port), Line)
        self.port: int = self._listener.server_address[1]
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def address(self) -> str:
        return f"{ADDRESS}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """As when it dies: nobody listens, and all lines are cut."""
        if self._thread.is_alive():
            self._listener.shutdown()
            self._thread.join()
        self._listener.server_close()
        for line in list(self._lines):
            cut(line)

    def serve(self, line: socket.socket, stream: Any) -> None:
        self._lines.add(line)
        try:
            self.converse(line, stream)
        except OSError:
            pass
        finally:
            self._lines.discard(line)
            cut(line)

    def converse(self, line: socket.socket, stream: Any) -> None:
        """Answer what comes on the stream, until it ends or the line is to be cut."""
        raise NotImplementedError


def cut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
