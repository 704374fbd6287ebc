"""Line: a private connection between two roles. Nobody ever blocks on one.

What the kernel does not take at once stays in the line's own buffer, and a role that
can't write goes on reading; so two roles can't wait for each other (decision 0001).
"""

from __future__ import annotations

import array
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final, NamedTuple

from django_q.cluster.frames import HEADER, KINDS, Frame

BITE: Final = 256 * 1024
"""Bytes read or written at once."""

WIDE: Final = 512 * 1024
"""Bytes that the kernel keeps of what was written to a busy reader, if it may."""

LONGEST_READ: Final = 16
"""Bites read from one line before the others have their turn."""

CLOSED_ERRORS: Final = (BrokenPipeError, ConnectionResetError)


class Line:
    """One end of a connection. Closing is noticed on both sides as `closed`."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        end.set_inheritable(False)
        self._socket = end
        self._incoming = bytearray()
        self._outgoing: deque[tuple[memoryview, socket.socket | None]] = deque()
        self._arrived: deque[socket.socket] = deque()
        self._is_mute = False
        self.closed = False

    @classmethod
    def pair(cls) -> tuple[socket.socket, socket.socket]:
        """Two connected ends, neither inherited by programs that are started."""
        return socket.socketpair()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def end(self) -> socket.socket:
        """The socket itself."""
        return self._socket

    @property
    def ends(self) -> list[socket.socket]:
        """It, and those that wait to be handed over: a forked child must close them."""
        waiting = (handing for _frame, handing in self._outgoing if handing is not None)
        return [self._socket, *waiting]

    @property
    def is_waiting(self) -> bool:
        """Something is still to be written."""
        return bool(self._outgoing) and not self.closed

    def send(self, frame: bytes, handing: socket.socket | None = None) -> None:
        """Send an encoded frame, now or as soon as the other side has room.

        `handing` goes with it: an end of a line, which is then the other side's own.
        """
        if self.closed or self._is_mute:
            if handing is not None:
                handing.close()
            return
        if handing is None and not self._outgoing:
            try:
                frame = frame[self._socket.send(frame) :]
            except BlockingIOError:
                pass
            except CLOSED_ERRORS:
                self._give_up_writing()
                return
            if not frame:
                # As it mostly goes: the kernel takes all of it.
                return
        self._outgoing.append((memoryview(frame), handing))
        self.flush()

    def flush(self) -> None:
        """Write as much as the kernel takes."""
        with suppress(BlockingIOError):
            while self._outgoing and not self.closed:
                self._write_one()

    def _write_one(self) -> None:
        frame, handing = self._outgoing[0]
        try:
            written = self._write(frame, handing)
        except CLOSED_ERRORS:
            self._give_up_writing()
            return
        if handing is not None:
            handing.close()
        if written == len(frame):
            self._outgoing.popleft()
        else:
            self._outgoing[0] = (frame[written:], None)

    def _give_up_writing(self) -> None:
        """Nobody reads any more. What was written to us before still counts: it is read
        until the end of the line.
        """
        self._is_mute = True
        for _frame, handing in self._outgoing:
            if handing is not None:
                handing.close()
        self._outgoing.clear()

    def _write(self, frame: memoryview, handing: socket.socket | None) -> int:
        if handing is None:
            return self._socket.send(frame[:BITE])
        descriptors = array.array("i", [handing.fileno()])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
        return self._socket.sendmsg([frame[:BITE]], ancillary)

    def receive(self) -> list[Frame]:
        """The frames that have arrived whole; sets `closed` at the end of the line."""
        for _ in range(LONGEST_READ):
            if self.closed or not self._read():
                break
        return self._take_frames()

    def _read(self) -> bool:
        """Read one bite; False when there is nothing more for now."""
        try:
            data, ancillary, _flags, _address = self._socket.recvmsg(BITE, ROOM)
        except BlockingIOError:
            return False
        except CLOSED_ERRORS:
            data, ancillary = b"", []
        for _level, _kind, raw in ancillary:
            self._arrived.extend(_sockets_from(raw))
        if not data:
            self.close()
            return False
        self._incoming += data
        return True

    def _take_frames(self) -> list[Frame]:
        frames: list[Frame] = []
        begin, arrived = HEADER.size, len(self._incoming)
        with memoryview(self._incoming) as incoming:
            while begin <= arrived:
                length, kind = HEADER.unpack_from(incoming, begin - HEADER.size)
                end = begin + length
                if end > arrived:
                    break
                frames.append(Frame(KINDS[kind], bytes(incoming[begin:end])))
                begin = end + HEADER.size
        del self._incoming[: begin - HEADER.size]
        return frames

    def take_handed(self) -> Line:
        """The line that came with the INTRODUCE frame just received."""
        return Line(self._arrived.popleft())

    def close(self) -> None:
        """End the line; the other side notices. Doing so twice is harmless."""
        self.closed = True
        self._socket.close()
        self._give_up_writing()


def widen(end: socket.socket) -> None:
    """Let more be on its way from here to the other end than usual."""
    # Some systems refuse what is more than they allow, others give what they do.
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, WIDE)


ROOM: Final = socket.CMSG_SPACE(4 * array.array("i").itemsize)
"""Room for the ends of lines that come with one bite."""


def _sockets_from(raw: bytes) -> Iterable[socket.socket]:
    descriptors = array.array("i")
    descriptors.frombytes(raw[: len(raw) - len(raw) % descriptors.itemsize])
    for descriptor in descriptors:
        yield socket.socket(fileno=descriptor)


class Glance(NamedTuple):
    """Something that can't call us: it is looked at now and then while we wait."""

    look: Callable[[], bool]
    """True ends the waiting."""

    pause: Callable[[], float]
    """Seconds until the next look."""


def wait_for_news(
    lines: Iterable[Line],
    timeout: float,
    descriptors: Sequence[int] = (),
    glance: Glance | None = None,
) -> set[int]:
    """Wait until a line or descriptor can be read; write what can be written meanwhile.

    Gives the file numbers that can be read, after at most `timeout` seconds.
    """
    poll = select.poll()
    open_lines = {line.fileno(): line for line in lines if not line.closed}
    for number, line in open_lines.items():
        waiting = select.POLLOUT if line.is_waiting else 0
        poll.register(number, select.POLLIN | waiting)
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    readable = set()
    for number, event in _poll(poll, max(0.0, timeout), glance):
        if event & select.POLLOUT:
            open_lines[number].flush()
        if event & ~select.POLLOUT:
            readable.add(number)
    return readable


def _poll(
    poll: select.poll, timeout: float, glance: Glance | None
) -> list[tuple[int, int]]:
    if glance is None:
        return poll.poll(timeout * 1000)
    until = monotonic() + timeout
    while True:
        rest = until - monotonic()
        events = poll.poll(max(0.0, min(rest, glance.pause())) * 1000)
        if events or rest <= 0 or glance.look():
            return events
