"""moto's server, whose clock can be put forward: `python -m tests.moto_clock PORT FILE`.

The file has the seconds by which it is later here than elsewhere. So a test need not
wait until a message is visible again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from email.utils import format_datetime
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import Any

from django.utils import timezone
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from moto.sqs import models
from werkzeug.serving import WSGIRequestHandler, make_server

AHEAD = Struct("d")


class Clock:
    """The clock of the server."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self.memory = mmap(opened.fileno(), AHEAD.size)

    @property
    def ahead(self) -> float:
        seconds: float = AHEAD.unpack(self.memory)[0]
        return seconds

    def shift(self, module: Any) -> None:
        """Let a module of moto see this clock."""
        seconds, millis = module.unix_time, module.unix_time_millis
        module.unix_time = lambda: seconds() + self.ahead
        module.unix_time_millis = lambda: millis() + 1000 * self.ahead

    def dated(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Any]:
        """The same application, whose answers are dated by this clock."""

        def serve(environ: Any, start_response: Callable[..., Any]) -> Any:
            def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
                now = timezone.now() + timedelta(seconds=self.ahead)
                date = format_datetime(now, usegmt=True)
                return start_response(status, [*headers, ("Date", date)], *rest)

            return app(environ, start)

        return serve


class Lasting(WSGIRequestHandler):
    """Keeps connections open, as the real server does."""

    protocol_version = "HTTP/1.1"


def main(port: str, file: str) -> None:
    clock = Clock(Path(file))
    clock.shift(models)
    app = clock.dated(DomainDispatcherApplication(create_backend_app))
    server = make_server(
        "127.0.0.1", int(port), app, threaded=True, request_handler=Lasting
    )
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
