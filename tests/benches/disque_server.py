"""Disque for the tests: its protocol on a real socket.

It is no Disque. It knows the commands that the broker uses, with the limits, the errors and
the forms of its answers, as its documentation and its sources (1.0-rc1 and after) tell them;
several nodes of one `Jobs` have copies of every job, and one of them has it in its queue; a
node that has none is given those of the others at once. Where a real server is installed,
the same tests run on that as well.
"""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.benches.listening import ADDRESS, LineServer

DEFAULT_TTL = 24 * 3600
LONGEST_DEFAULT_RETRY = 5 * 60

ARGUMENTS = {
    "AUTH": 1,
    "TIME": 0,
    "HELLO": 0,
    "SHOW": 1,
    "QLEN": 1,
    "QPEEK": 2,
    "WORKING": 1,
    "ADDJOB": -3,
    "GETJOB": -1,
    "PAUSE": -2,
}
"""So many, or at least so many."""


class Refusal(Exception):
    """An error that is sent: its first word is its name."""


class Nothing:
    """An answer: a string that is not there."""


NOTHING = Nothing()


class Status(str):
    """An answer that is sent as a simple string."""

    __slots__ = ()


@dataclass
class Job:
    id: str
    queue: str
    body: bytes
    born: float
    number: int
    ttl: int
    retry: int
    delay: int
    home: DisqueServer
    """The node that it was given to."""

    queued_at: float | None = None
    """When it is queued next, unless it is done; None: never again."""
    offered_by: DisqueServer | None = None
    """The node that has it in its queue."""

    was_queued: bool = False
    nacks: int = 0
    additional: int = 0

    def counters(self) -> list[Any]:
        return ["nacks", self.nacks, "additional-deliveries", self.additional]


@dataclass
class Jobs:
    """What the nodes know. Its time can be moved on."""

    node: str = field(default_factory=lambda: os.urandom(20).hex())
    jobs: dict[str, Job] = field(default_factory=dict)
    paused: dict[str, set[str]] = field(default_factory=dict)
    lock: threading.Condition = field(default_factory=threading.Condition)
    numbers: int = 0
    skipped: float = 0.0
    nodes: list[DisqueServer] = field(default_factory=list)
    size: int = 1
    """Nodes that belong together."""

    reachable: int = 1
    """Those of them that could have a copy."""

    is_slow: bool = False
    """It takes long until a node asks the others for what they have."""

    queues: set[str] = field(default_factory=set)
    """Those that somebody has used."""

    def now(self) -> float:
        return time.time() + self.skipped  # noqa: TID251 - as its clients read it

    def skip(self, seconds: float) -> None:
        with self.lock:
            self.skipped += seconds
            self.lock.notify_all()

    def turn(self, node: DisqueServer) -> None:
        """What a node does by itself: expire, and queue what nobody acknowledged."""
        now = self.now()
        for job in list(self.jobs.values()):
            if now >= job.born + job.ttl:
                del self.jobs[job.id]
            elif job.queued_at is not None and job.queued_at <= now:
                is_offered = job.offered_by and not job.offered_by.is_stopped
                if is_offered or ("in" in self.paused.get(job.queue, ()) and job.retry):
                    job.queued_at = now + job.retry
                else:
                    self.put(job, node)

    def put(self, job: Job, node: DisqueServer, *, nack: bool = False) -> bool:
        if job.queued_at is None or (job.offered_by and not job.offered_by.is_stopped):
            return False
        if job.was_queued or nack:
            job.nacks += nack
            job.additional += not nack
        self.queues.add(job.queue)
        job.was_queued = True
        job.offered_by = node
        job.queued_at = self.now() + job.retry if job.retry else None
        self.lock.notify_all()
        return True

    def waiting(self, queue: str, *nodes: DisqueServer) -> list[Job]:
        """The jobs in the queues of these nodes."""
        found = [
            job
            for job in self.jobs.values()
            if job.queue == queue and job.offered_by in nodes
        ]
        return sorted(found, key=lambda job: job.number)


class DisqueServer(LineServer):
    """One node, in threads of this process."""

    def __init__(
        self, jobs: Jobs | None = None, *, password: str = "", port: int = 0
    ) -> None:
        self.jobs = jobs or Jobs()
        self.jobs.nodes.append(self)
        self.password = password
        self.leaving = False
        self.refusal = ""
        """What it says to everything that changes something, such as OOM."""
        self.keeps_file = True
        self.has_copies = True
        """Whether it knows what others were given."""
        self.deaf_to: set[str] = set()
        """Commands that are obeyed; then the line is cut instead of an answer."""
        self.said: list[list[str]] = []
        self.is_stopped = False
        super().__init__(port)

    def stop(self) -> None:
        self.is_stopped = True
        super().stop()

    # -- lines

    def converse(self, line: socket.socket, stream: Any) -> None:
        is_known = not self.password
        for words in requests(stream):
            verb = words[0].decode().upper()
            self.said.append([word.decode(errors="replace") for word in words])
            try:
                if verb == "AUTH":
                    is_known = self._authenticate(words[1:])
                    answer: Any = Status("OK")
                else:
                    answer = self.obey(line, verb, words[1:], is_known)
            except Refusal as refusal:
                answer = refusal
            if verb in self.deaf_to:
                return
            line.sendall(encoded(answer))

    def _authenticate(self, words: Sequence[bytes]) -> bool:
        if not self.password:
            raise Refusal("ERR Client sent AUTH, but no password is set")
        check_number("AUTH", words)
        if words[0].decode() != self.password:
            raise Refusal("ERR invalid password")
        return True

    def obey(
        self, line: socket.socket, verb: str, words: Sequence[bytes], is_known: bool
    ) -> Any:
        commands: dict[str, Callable[..., Any]] = {
            "PING": lambda: Status("PONG"),
            "INFO": self.info,
            "TIME": self.time,
            "HELLO": self.hello,
            "ADDJOB": self.addjob,
            "GETJOB": lambda *words: self.getjob(line, *words),
            "ACKJOB": self.ackjob,
            "FASTACK": self.ackjob,
            "DELJOB": self.ackjob,
            "NACK": self.nack,
            "ENQUEUE": self.enqueue,
            "WORKING": self.working,
            "QLEN": lambda queue: len(self.jobs.waiting(queue.decode(), self)),
            "QPEEK": self.qpeek,
            "QSCAN": self.qscan,
            "JSCAN": self.jscan,
            "SHOW": self.show,
            "PAUSE": self.pause,
        }
        command = commands.get(verb)
        if command is None:
            raise Refusal(f"ERR unknown command '{verb}'")
        check_number(verb, words)
        if not is_known:
            raise Refusal("NOAUTH Authentication required.")
        if self.refusal and verb in {"ADDJOB", "ENQUEUE", "NACK"}:
            raise Refusal(self.refusal)
        with self.jobs.lock:
            self.jobs.turn(self)
            return command(*words)

    # -- commands

    def time(self) -> list[str]:
        seconds, rest = divmod(self.jobs.now(), 1)
        return [str(int(seconds)), str(int(rest * 1e6))]

    def info(self, *_section: bytes) -> bytes:
        facts = ["disque_version:1.0-rc1", f"aof_enabled:{int(self.keeps_file)}"]
        return "\r\n".join(["# Server", *facts, ""]).encode()

    def hello(self) -> list[Any]:
        names = [f"{number:040x}" for number in range(1, self.jobs.size)]
        nodes = [[name, ADDRESS, "7711", "1"] for name in names]
        mine = [self.jobs.node, ADDRESS, str(self.port), "1"]
        return [1, self.jobs.node, mine, *nodes]

    def addjob(self, queue: bytes, body: bytes, timeout: bytes, *words: bytes) -> Any:
        options = options_in(words, ("REPLICATE", "DELAY", "RETRY", "TTL", "MAXLEN"))
        ttl = whole(options.get("TTL", DEFAULT_TTL), "TTL", 1)
        delay = whole(options.get("DELAY", 0), "DELAY", 0)
        retry = whole(
            options.get("RETRY", max(1, min(ttl // 10, LONGEST_DEFAULT_RETRY))),
            "RETRY",
            0,
        )
        usual = min(3, self.jobs.size)
        copies = whole(options.get("REPLICATE", usual), "REPLICATE", 1)
        whole(timeout, "timeout", 0)
        if copies > 1 and retry == 0:
            raise Refusal("ERR With RETRY set to 0 please set REPLICATE to 1")
        if delay >= ttl:
            raise Refusal("ERR The specified DELAY is greater than TTL")
        if copies > self.jobs.reachable:
            raise Refusal("NOREPL Not enough reachable nodes")
        name = queue.decode()
        length = len(self.jobs.waiting(name, self))
        if "MAXLEN" in options and length >= int(options["MAXLEN"]):
            raise Refusal("MAXLEN Queue is already longer")
        if "in" in self.jobs.paused.get(name, ()):
            raise Refusal("PAUSED Queue paused in input, try later")
        job = self._new_job(name, body, ttl=ttl, retry=retry, delay=delay)
        return Status(job.id)

    def _new_job(self, queue: str, body: bytes, **times: Any) -> Job:
        jobs = self.jobs
        jobs.numbers += 1
        minutes = min(times["ttl"] // 60, 65_535)
        minutes = minutes | 1 if times["retry"] else minutes & ~1
        random = base64.b64encode(os.urandom(18)).decode()
        name = f"D-{jobs.node[:8]}-{random}-{minutes:04x}"
        now = jobs.now()
        job = Job(name, queue, body, now, jobs.numbers, home=self, **times)
        job.queued_at = now + (job.delay or job.retry)
        jobs.jobs[name] = job
        if not job.delay:
            jobs.put(job, self)
        return job

    def getjob(self, line: socket.socket, *words: bytes) -> Any:
        upper = [word.upper() for word in words]
        if b"FROM" not in upper:
            raise Refusal("ERR syntax error")
        at = upper.index(b"FROM")
        names = [word.decode() for word in words[at + 1 :]]
        flags = ("NOHANG", "WITHCOUNTERS")
        options = options_in(words[:at], ("TIMEOUT", "COUNT"), flags)
        count = whole(options.get("COUNT", 1), "COUNT", 1)
        wait = whole(options.get("TIMEOUT", 0), "timeout", 0) / 1000 or float("inf")
        with_counters = "WITHCOUNTERS" in options
        self.jobs.queues.update(names)
        taken = self._take(names, count)
        if not taken and "NOHANG" not in options:
            if self.leaving:
                raise Refusal("LEAVING This node is leaving the cluster")
            taken = self._wait_for(line, names, wait)
        rows = [
            [j.queue, j.id, j.body, *(j.counters() if with_counters else ())]
            for j in taken
        ]
        return rows or None

    def _wait_for(
        self, line: socket.socket, queues: Sequence[str], wait: float
    ) -> list[Job]:
        """A single job, for as long as somebody is there to take it."""
        until = time.monotonic() + wait
        while is_whole(line) and not self.is_stopped:
            if taken := self._take(queues, 1):
                return taken
            rest = until - time.monotonic()
            if rest <= 0:
                return []
            self.jobs.lock.wait(min(0.02, rest))
            self.jobs.turn(self)
        raise ConnectionAbortedError

    def _take(self, queues: Sequence[str], count: int) -> list[Job]:
        living = [node for node in self.jobs.nodes if not node.is_stopped]
        found = [
            job
            for queue in queues
            if "out" not in self.jobs.paused.get(queue, ())
            for job in self.jobs.waiting(queue, self)
            or self.jobs.waiting(queue, *(() if self.jobs.is_slow else living))
        ]
        for job in found[:count]:
            job.offered_by = None
        return found[:count]

    def ackjob(self, *names: bytes) -> int:
        return sum(self.jobs.jobs.pop(n, None) is not None for n in ids(names))

    def nack(self, *names: bytes) -> int:
        known = self._known(names)
        return sum(self.jobs.put(job, self, nack=True) for job in known)

    def enqueue(self, *names: bytes) -> int:
        return sum(self.jobs.put(job, self) for job in self._known(names))

    def _known(self, names: Sequence[bytes]) -> list[Job]:
        found = [self.jobs.jobs.get(name) for name in ids(names)]
        return [j for j in found if j and (self.has_copies or j.home is self)]

    def working(self, name: bytes) -> int:
        known = self._known([name])
        if not known:
            raise Refusal("NOJOB Job not known in the context of this node.")
        [job] = known
        if self.jobs.now() - job.born > job.ttl / 2:
            raise Refusal("TOOLATE Half of job TTL already elapsed")
        job.offered_by = None
        if job.retry and job.queued_at is not None:
            job.queued_at = self.jobs.now() + job.retry
        return job.retry

    def qpeek(self, queue: bytes, count: bytes) -> list[Any]:
        number = whole(count, "value", -(2**63))
        found = self.jobs.waiting(queue.decode(), self)
        chosen = found[:number] if number >= 0 else found[::-1][:-number]
        return [[job.queue, job.id, job.body] for job in chosen]

    def qscan(self, *words: bytes) -> Any:
        return page(
            sorted(self.jobs.queues), words, ("COUNT", "MINLEN", "MAXLEN", "IMPORTRATE")
        )

    def jscan(self, *words: bytes) -> Any:
        known = ("COUNT", "QUEUE", "REPLY")
        states = {w.decode() for flag, w in pairwise(words) if flag == b"STATE"}
        queues = [w.decode() for flag, w in pairwise(words) if flag == b"QUEUE"]
        in_full = [w.upper() for w in words].count(b"ALL") > 0
        found = [
            self.facts(job) if in_full else Status(job.id)
            for job in self.jobs.jobs.values()
            if (not states or self.state_of(job) in states)
            and (not queues or job.queue in queues)
        ]
        return page(found, words, (*known, "STATE"))

    def show(self, name: bytes) -> Any:
        known = self._known([name])
        return self.facts(known[0]) if known else NOTHING

    def facts(self, job: Job) -> list[Any]:
        now = self.jobs.now()
        due = None if job.queued_at is None else int(1000 * (job.queued_at - now))
        facts: list[Any] = ["id", job.id, "queue", job.queue]
        facts += ["state", self.state_of(job)]
        facts += ["repl", 1, "ttl", max(0, int(job.born + job.ttl - now))]
        facts += ["ctime", int(job.born * 1e9), "delay", job.delay, "retry", job.retry]
        facts += [*job.counters(), "nodes-delivered", [self.jobs.node]]
        facts += ["nodes-confirmed", []]
        for name in ("next-requeue-within", "next-awake-within"):
            facts += [name, NOTHING if due is None else max(0, due)]
        return [*facts, "body", job.body]

    def state_of(self, job: Job) -> str:
        """What others offer is held back here."""
        return "queued" if job.offered_by is self else "active"

    def pause(self, queue: bytes, *words: bytes) -> Status:
        name, state, is_new = queue.decode(), set[str](), False
        meanings = {"in": {"in"}, "out": {"out"}, "all": {"in", "out"}}
        for word in (word.decode().lower() for word in words):
            if word not in {*meanings, "none", "state", "bcast"}:
                raise Refusal("ERR syntax error")
            is_new = is_new or word not in {"state", "bcast"}
            state = set() if word == "none" else state | meanings.get(word, set())
        if is_new:
            self.jobs.queues.add(name)
            self.jobs.paused[name] = state
            self.jobs.lock.notify_all()
        state = self.jobs.paused.get(name, set())
        return Status("all" if len(state) == 2 else "".join(state or {"none"}))


def check_number(verb: str, words: Sequence[bytes]) -> None:
    number = ARGUMENTS.get(verb)
    if number is None:
        return
    if len(words) < abs(number) or 0 <= number < len(words):
        problem = "ERR wrong number of arguments for"
        raise Refusal(f"{problem} '{verb.lower()}' command")


def is_whole(line: socket.socket) -> bool:
    """Whether the other side may still say something; else its commands are forgotten."""
    try:
        return bool(line.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True


def ids(names: Sequence[bytes]) -> list[str]:
    texts = [name.decode() for name in names]
    for text in texts:
        if len(text) != 40 or not text.startswith("D-") or text[10] + text[35] != "--":
            raise Refusal("BADID Invalid Job ID format.")
    return texts


def whole(value: bytes | int, name: str, least: int) -> int:
    try:
        number = int(value)
    except ValueError:
        number = least - 1
    if number < least:
        raise Refusal(f"ERR {name} must be a number of at least {least}")
    return number


def options_in(
    words: Sequence[bytes], valued: Sequence[str], flags: Sequence[str] = ("ASYNC",)
) -> dict[str, bytes]:
    options = {}
    rest = iter(words)
    for word in rest:
        name = word.decode().upper()
        if name in valued:
            options[name] = next(rest, b"")
        elif name in flags:
            options[name] = b""
        else:
            raise Refusal("ERR syntax error")
    return options


def page(found: Sequence[Any], words: Sequence[bytes], valued: Sequence[str]) -> Any:
    """A cursor and a part of what was found, two at a time: nobody may trust in one page."""
    rest = iter(words)
    cursor = 0
    for word in rest:
        if word.decode().upper() in valued:
            next(rest, None)
        else:
            cursor = whole(word, "cursor", 0)
    part = list(found[cursor : cursor + 2])
    following = cursor + 2 if cursor + 2 < len(found) else 0
    return [str(following), part]


def requests(stream: Any) -> Iterator[list[bytes]]:
    """Commands as clients send them: arrays of strings. One that is cut off is none."""
    while (head := stream.readline()).startswith(b"*") and head.endswith(b"\n"):
        words = []
        for _ in range(int(head[1:])):
            size = int(stream.readline()[1:] or -1)
            word = stream.read(size)
            if stream.read(2) != b"\r\n":
                return
            words.append(word)
        yield words


def encoded(answer: Any) -> bytes:
    if answer is None or answer is NOTHING:
        return b"*-1\r\n" if answer is None else b"$-1\r\n"
    if isinstance(answer, Refusal | Status):
        mark = "-" if isinstance(answer, Refusal) else "+"
        return f"{mark}{answer}\r\n".encode()
    if isinstance(answer, int):
        return b":%d\r\n" % answer
    if isinstance(answer, list):
        return b"*%d\r\n" % len(answer) + b"".join(map(encoded, answer))
    data = answer.encode() if isinstance(answer, str) else answer
    return b"$%d\r\n%s\r\n" % (len(data), data)
