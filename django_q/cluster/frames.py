"""Frames: what travels on a line. A header anyone may read, a body most may not."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from django_q.compact import from_json, to_json

HEADER: Final = struct.Struct("!IB")

UNRECEIPTED: Final = "none:"
"""Begins the names that stand for receipts where the broker gives none."""


class Kind(enum.IntEnum):
    """The kinds of frames, by who sends them to whom."""

    INTRODUCE = 1
    """Sentinel to any role: a line to a peer comes with this frame."""
    STOP = 2
    """Sentinel to any role: finish what runs, then leave."""
    READY = 3
    """Any role to sentinel: it works now."""
    RETIRE = 4
    """Worker to sentinel and pusher: it starts nothing more."""
    DEAD = 5
    """Sentinel to pusher: how a worker ended."""
    BURIED = 6
    """Pusher to sentinel: that death is dealt with."""
    VITALS = 7
    """Sentinel to housekeeper: the present vital signs."""
    STOPPING = 8
    """Pusher to sentinel to root: what was given back when it stopped."""
    RUNNING = 9
    """Sentinel to root: all roles work."""
    PARCELS = 10
    """Pusher to worker: work."""
    WANT = 11
    """Worker to pusher: little or nothing is left in hand."""
    DROPPED = 12
    """Worker to pusher: a parcel that looked started was not."""
    HELLO = 20
    """Worker to monitor: all that is not saved yet has been sent to you."""
    RECORD = 21
    """Worker or pusher to monitor: an ended run."""
    SAVED = 22
    """Monitor to worker: these are saved."""
    REFUSED = 28
    """Monitor to worker: this one can't be saved for now; at a stop, don't wait for it."""
    SETTLED = 23
    """Monitor to pusher: these receipts are done with."""
    FINISH = 24
    """Pusher to monitor: read the last words of a dead worker."""
    ARRIVED = 25
    """Monitor to pusher: what had come from it."""
    LIST = 26
    """Pusher to monitor: what is with you?"""
    LISTED = 27
    """Monitor to pusher: what came and is not settled, and from whom."""


KINDS: Final = {int(kind): kind for kind in Kind}


class Frame(NamedTuple):
    """One message on a line."""

    kind: Kind
    body: bytes = b""

    def encode(self) -> bytes:
        return HEADER.pack(len(self.body), self.kind) + self.body

    @property
    def facts(self) -> dict[str, Any]:
        """The body of a control frame."""
        return from_json(self.body) if self.body else {}


def control(kind: Kind, **facts: Any) -> bytes:
    """A control frame, encoded."""
    body = to_json(facts) if facts else b""
    return Frame(kind, body).encode()


class Errand(enum.IntEnum):
    """What a worker is to do with a parcel."""

    EXECUTE = 0
    CONCLUDE = 1
    """Open it, but do not run it: record the end that the parcel's text tells."""
    LOOK_FIRST = 2
    """It may have run before: execute it unless it has succeeded."""


class Parcel(NamedTuple):
    """A package in the hands of a worker."""

    number: int
    key: int
    """First eight bytes of the receipt's hash: the task's mark on the board."""
    starts: int
    """Earlier starts that ended with their worker."""
    attempts: int
    errand: Errand
    cause: str
    text: str
    receipt: str
    package: str


PARCEL: Final = struct.Struct("!QQIIBHIHI")
"""Five numbers; the characters of all texts but the last; the bytes of all of them."""

ERRANDS: Final = tuple(Errand)


def encode_parcels(parcels: Sequence[Parcel]) -> bytes:
    """A PARCELS frame."""
    return Frame(Kind.PARCELS, b"".join(map(_encode_parcel, parcels))).encode()


def _encode_parcel(parcel: Parcel) -> bytes:
    texts = parcel[5:]
    encoded = "".join(texts).encode("utf-8", "surrogatepass")
    cause, text, receipt, _package = map(len, texts)
    return PARCEL.pack(*parcel[:5], cause, text, receipt, len(encoded)) + encoded


def decode_parcels(body: bytes) -> Iterator[Parcel]:
    """The parcels in the body of a PARCELS frame."""
    at = 0
    while at < len(body):
        fixed = PARCEL.unpack_from(body, at)
        number, key, starts, attempts, errand, cause, text, receipt, size = fixed
        at += PARCEL.size
        texts = body[at : at + size].decode("utf-8", "surrogatepass")
        at += size
        second, third, last = cause, cause + text, cause + text + receipt
        yield Parcel(
            number,
            key,
            starts,
            attempts,
            ERRANDS[errand],
            texts[:second],
            texts[second:third],
            texts[third:last],
            texts[last:],
        )


class Report(NamedTuple):
    """A record on its way to the monitor, with what settles its delivery."""

    number: int
    receipt: str
    again: bool
    """It was sent before, to this monitor or another one."""
    record: bytes
    settled: bool = False
    """Whoever sends it has saved it, and removed its package."""


REPORT: Final = struct.Struct("!Q??H")


def encode_report(report: Report) -> bytes:
    """A RECORD frame."""
    receipt = report.receipt.encode()
    fixed = REPORT.pack(report.number, report.again, report.settled, len(receipt))
    size = len(fixed) + len(receipt) + len(report.record)
    return HEADER.pack(size, Kind.RECORD) + fixed + receipt + report.record


def decode_report(body: bytes) -> Report:
    """The report in the body of a RECORD frame."""
    number, again, settled, length = REPORT.unpack_from(body)
    at = REPORT.size
    receipt = body[at : at + length].decode()
    return Report(number, receipt, again, body[at + length :], settled)
