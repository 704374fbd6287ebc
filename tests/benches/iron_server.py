"""IronMQ for the tests: its version 3 on a real socket, written from its documentation.

It is no IronMQ. It knows the requests that the broker sends, with the limits and the
refusals that the documentation names.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

ADDRESS = "127.0.0.1"


class Refusal(Exception):
    """An answer that is none: its status, and why."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


@dataclass
class Message:
    id: str
    body: str
    due: float
    place: int
    reservation: str = ""
    since: float = 0.0
    until: float = 0.0
    count: int = 0


@dataclass
class Queue:
    messages: dict[str, Message] = field(default_factory=dict)
    posted: int = 0


class IronServer:
    """The service, in threads of this process. Its time can be moved on, and a second of
    waiting for messages is made short.
    """

    def __init__(self, second: float = 0.02, *, shortest: int = 30) -> None:
        self.token, self.project = "t0ken", "pr0ject"
        self.queues: dict[str, Queue] = {}
        self.skipped = 0.0
        self.busy = 0
        """Requests that are answered with 503 first."""
        self.largest, self.too_large = 2**32, 413
        """Bytes of a message, and how more are refused: the documentation does not say."""
        self.deaf_to = ""
        """The end of a path: such requests are obeyed, and the line is cut."""
        self.said: list[tuple[str, str, Any]] = []
        self.lines = 0
        self._second, self._shortest = second, shortest
        self._lock = threading.Condition()
        self._numbers = 0
        service = self

        class Line(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                service.lines += 1
                super().setup()

            def answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                sent = self.rfile.read(size)
                if len(sent) < size:
                    # Its client died while it wrote: no request, least of all one without
                    # a body, which clears a queue.
                    self.close_connection = True
                    return
                body = json.loads(sent or b"null")
                service.said.append((self.command, self.path, body))
                token = self.headers.get("Authorization", "")
                status, said = service.serve(self.command, self.path, body, token)
                if service.deaf_to and self.path.endswith(service.deaf_to):
                    self.close_connection = True
                    return
                data = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._listener = Listener((ADDRESS, 0), Line)
        self.port = self._listener.server_address[1]
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def settings(self) -> dict[str, Any]:
        """What Q_CLUSTER['iron_mq'] is to be."""
        where = {"host": ADDRESS, "port": self.port, "protocol": "http"}
        return {**where, "token": self.token, "project_id": self.project}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def now(self) -> float:
        return time.monotonic() + self.skipped

    def end_reservations(self, before: float) -> None:
        """Those made `before` this moment, by time.monotonic(), run out now."""
        with self._lock:
            for queue in self.queues.values():
                for message in queue.messages.values():
                    if message.since < before:
                        message.until = 0.0
            self._lock.notify_all()

    # -- requests

    def serve(self, verb: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        try:
            with self._lock:
                self._admit(token)
                return self._route(verb, path, body or {})
        except Refusal as refusal:
            return refusal.status, {"msg": str(refusal)}

    def _admit(self, token: str) -> None:
        if self.busy > 0:
            self.busy -= 1
            raise Refusal(503, "Service Unavailable")
        if token != f"OAuth {self.token}":
            raise Refusal(401, "Invalid token")

    def _route(self, verb: str, path: str, body: Any) -> tuple[int, Any]:
        parts = urlsplit(path)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        if words[:2] != ["3", "projects"]:
            raise Refusal(404, "Not found")
        if words[2] != self.project:
            raise Refusal(403, "Project access denied")
        if words[3:] == ["queues"]:
            return 200, {"queues": [{"name": name} for name in sorted(self.queues)]}
        _queues, name, *what = words[3:]
        if (verb, what) == ("POST", ["messages"]):
            return 201, self._post(name, body["messages"])
        queue = self.queues.get(name)
        if queue is None:
            raise Refusal(404, "Queue not found")
        if (verb, what) == ("DELETE", []):
            del self.queues[name]
            return 200, {"msg": "Deleted"}
        limit = int(parse_qs(parts.query).get("n", ["1"])[0])
        return 200, self._act(queue, verb, what, {"n": limit, **body})

    def _act(self, queue: Queue, verb: str, what: list[str], body: Any) -> Any:
        if len(what) > 1:
            return self._act_on_one(queue, what[1], (verb, *what[2:]), body)
        actions = {
            ("GET",): self._about,
            ("POST", "reservations"): self._reserve,
            ("GET", "messages"): self._peek,
            ("DELETE", "messages"): self._delete_many,
        }
        action = actions.get((verb, *what))
        if action is None:
            raise Refusal(405, "Method not allowed")
        return action(queue, body)

    def _act_on_one(
        self, queue: Queue, name: str, what: tuple[str, ...], body: Any
    ) -> Any:
        if what == ("GET",):
            message = self._known(queue, name)
            facts = {"id": message.id, "body": message.body}
            return {"message": {**facts, "reserved_count": message.count}}
        message = self._held(queue, name, body)
        if what == ("DELETE",):
            del queue.messages[message.id]
            return {"msg": "Deleted"}
        actions = {"touch": self._touch, "release": self._release}
        if what[0] != "POST" or what[1] not in actions:
            raise Refusal(405, "Method not allowed")
        return actions[what[1]](message, body)

    def _peek(self, queue: Queue, body: Any) -> Any:
        waiting = self._waiting(queue)[: body["n"]]
        return {"messages": [{"id": m.id, "body": m.body} for m in waiting]}

    def _post(self, name: str, messages: list[dict[str, Any]]) -> Any:
        queue = self.queues.setdefault(name, Queue())
        if not 1 <= len(messages) <= 100:
            raise Refusal(400, "Between 1 and 100 messages at once")
        names = []
        for message in messages:
            if len(message["body"]) > self.largest:
                raise Refusal(self.too_large, "Message is too large")
            delay = message.get("delay", 0)
            if not isinstance(delay, int) or not 0 <= delay <= 604_800:
                raise Refusal(400, "Bad delay")
            queue.posted += 1
            self._numbers += 1
            name = str(6_000_000_000 + self._numbers)
            due = self.now() + delay
            queue.messages[name] = Message(name, message["body"], due, self._numbers)
            names.append(name)
        self._lock.notify_all()
        return {"ids": names, "msg": "Messages put on queue."}

    def _waiting(self, queue: Queue) -> list[Message]:
        now = self.now()
        found = [m for m in queue.messages.values() if max(m.due, m.until) <= now]
        # What comes back goes to the front.
        return sorted(found, key=lambda message: message.place)

    def _reserve(self, queue: Queue, body: Any) -> Any:
        timeout = body.get("timeout", 60)
        is_allowed = self._shortest <= timeout <= 86_400
        if not 1 <= body["n"] <= 100 or not is_allowed:
            raise Refusal(400, "n or timeout is out of range")
        until = time.monotonic() + self._second * body.get("wait", 0)
        while not (found := self._waiting(queue)[: body["n"]]):
            rest = until - time.monotonic()
            if rest <= 0:
                return {"messages": []}
            self._lock.wait(rest)
        for message in found:
            message.count += 1
            self._hold(message, timeout)
        return {"messages": [{**shown(m), "body": m.body} for m in found]}

    def _hold(self, message: Message, timeout: float) -> None:
        message.reservation = uuid.uuid4().hex
        message.since = time.monotonic()
        message.until = self.now() + timeout

    def _known(self, queue: Queue, name: str) -> Message:
        if name not in queue.messages:
            raise Refusal(404, "Message not found")
        return queue.messages[name]

    def _held(self, queue: Queue, name: str, body: Any) -> Message:
        """The message, if the reservation that is shown is the one that stands."""
        message = self._known(queue, name)
        is_reserved = message.until > self.now()
        shown_one = body.get("reservation_id", "")
        if is_reserved and shown_one != message.reservation:
            raise Refusal(403, "Reservation has timed out")
        if not is_reserved and shown_one:
            raise Refusal(403, "Reservation has timed out")
        return message

    def _delete_many(self, queue: Queue, body: Any) -> Any:
        if "ids" not in body:
            queue.messages.clear()
            return {"msg": "Cleared"}
        if len(body["ids"]) > 100:
            raise Refusal(400, "Too many messages")
        for each in body["ids"]:
            self._held(queue, each["id"], each)
        for each in body["ids"]:
            queue.messages.pop(each["id"], None)
        return {"msg": "Deleted"}

    def _touch(self, message: Message, body: Any) -> Any:
        if message.until <= self.now():
            raise Refusal(403, "Reservation has timed out")
        self._hold(message, body.get("timeout", 60))
        return {"reservation_id": message.reservation, "msg": "Touched"}

    def _release(self, message: Message, body: Any) -> Any:
        if message.until <= self.now():
            raise Refusal(403, "Reservation has timed out")
        message.until, message.reservation = 0.0, ""
        message.due = self.now() + body.get("delay", 0)
        self._lock.notify_all()
        return {"msg": "Released"}

    def _about(self, queue: Queue, _body: Any) -> Any:
        now = self.now()
        reserved = sum(message.until > now for message in queue.messages.values())
        delayed = sum(message.due > now for message in queue.messages.values())
        size = len(queue.messages) - reserved - delayed
        facts = {"size": size, "reserved": reserved, "total_messages": queue.posted}
        return {"queue": facts}


def shown(message: Message) -> dict[str, Any]:
    facts = {"id": message.id, "reserved_count": message.count}
    return {**facts, "reservation_id": message.reservation}
