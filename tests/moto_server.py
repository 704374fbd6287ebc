"""moto's server, whose clock can be put forward: `python -m tests.moto_server PORT FILE`.

The file has the seconds by which it is later here than elsewhere. So a test need not
wait until a message is visible again. It also says whether the server looks at when a
request was signed, as the real one does.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from functools import cache
from mmap import mmap
from pathlib import Path
from struct import Struct
from threading import Lock
from time import monotonic, sleep, time_ns
from typing import Any

from moto.core.utils import camelcase_to_underscores
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    create_backend_app,
)
from moto.sqs import models
from werkzeug.serving import WSGIRequestHandler, make_server

FACTS = Struct("d?")
PATIENCE = 15 * 60.0
"""Seconds by which the clock of a client may be wrong."""


class Clock:
    """The clock of the server."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self.memory = mmap(opened.fileno(), FACTS.size)

    @property
    def ahead(self) -> float:
        seconds: float = FACTS.unpack(self.memory)[0]
        return seconds

    @property
    def is_strict(self) -> bool:
        return bool(FACTS.unpack(self.memory)[1])

    def refuses(self, signed: str) -> bool:
        """Whether a request is refused that was signed then."""
        if not self.is_strict or not signed:
            return False
        moment = datetime.strptime(signed, "%Y%m%dT%H%M%S%z")
        return abs(time_ns() / 1e9 - moment.timestamp()) > PATIENCE

    def shift(self, module: Any) -> None:
        """Let a module of moto see this clock."""
        # Also quicker than moto's own, which looks at it for each message of a queue.
        module.unix_time = lambda: time_ns() / 1e9 + self.ahead
        module.unix_time_millis = lambda: time_ns() / 1e6 + 1000 * self.ahead


def strict(app: Any, clock: Clock) -> Any:
    """The same service, which looks at when a request was signed."""

    def serve(environ: Any, start_response: Any) -> Any:
        signed = environ.get("HTTP_X_AMZ_DATE", "")
        if not clock.refuses(signed):
            return app(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        kind = [("Content-Type", "application/x-amz-json-1.0")]
        start_response("403 Forbidden", kind)
        message = f"Signature not valid now: {signed} is too far away"
        name = "com.amazon.coral.service#InvalidSignatureException"
        return [json.dumps({"__type": name, "message": message}).encode()]

    return serve


def handler(clock: Clock) -> type[WSGIRequestHandler]:
    """Answers are dated by this clock."""

    class Dated(WSGIRequestHandler):
        # Connections stay open, as the real server's do.
        protocol_version = "HTTP/1.1"

        def log_request(self, *_about: Any) -> None:
            """Nobody reads of thousands."""

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(
                (timestamp or time_ns() / 1e9) + clock.ahead
            )

    return Dated


def one_at_a_time(module: Any) -> None:
    """Nobody gets a message while another one is getting it: moto sees to that only
    where its server has one thread.
    """
    lock, receive = Lock(), module.SQSBackend.receive_message

    def wait(
        backend: Any, queue: str, count: int, seconds: int, *rest: Any
    ) -> list[Any]:
        deadline = monotonic() + seconds
        while True:
            with lock:
                found: list[Any] = receive(backend, queue, count, 0, *rest)
            if found or monotonic() >= deadline:
                return found
            sleep(0.05)

    module.SQSBackend.receive_message = wait


def count_when_asked(module: Any) -> None:
    """Messages are counted for those who want to know how many there are; moto does it
    for each one that comes or goes, which takes its time with thousands.
    """
    queue, read = module.Queue, module.SQSBackend.get_queue_attributes
    counts = [n for n in queue.BASE_ATTRIBUTES if n.startswith("Approximate")]
    queue.BASE_ATTRIBUTES = [n for n in queue.BASE_ATTRIBUTES if n not in counts]

    def ask(backend: Any, name: str, wanted: list[str]) -> dict[str, Any]:
        found = read(backend, name, [n for n in wanted if n not in counts])
        for count in counts:
            if count in wanted or "All" in wanted:
                attribute = camelcase_to_underscores(count)
                found[count] = getattr(backend.get_queue(name), attribute)
        return dict(found)

    module.SQSBackend.get_queue_attributes = ask


def main(port: str, file: str) -> None:
    clock = Clock(Path(file))
    clock.shift(models)
    one_at_a_time(models)
    count_when_asked(models)
    moto: Any = DomainDispatcherApplication(create_backend_app)
    # For each request it would look at all the services that there are.
    moto.get_backend_for_host = cache(moto.get_backend_for_host)
    app = strict(moto, clock)
    server = make_server(
        "127.0.0.1", int(port), app, threaded=True, request_handler=handler(clock)
    )
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
