"""Lines: everything arrives, nobody blocks, and the end is noticed.

Both sides live in one thread here: whoever blocked would stop the test for ever.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from errno import ENOBUFS
from typing import Any, cast

import pytest

from django_q.cluster.frames import HEADER, Frame, Kind, control
from django_q.cluster.lines import BITE, Line, wait_for_news, widen
from django_q.cluster.sentinel import introduce
from tests.unit.cluster.making import two_lines
from tests.waiting import wait_until

MEGABYTE = 1024 * 1024


@pytest.fixture
def pair() -> Iterator[tuple[Line, Line]]:
    with two_lines() as lines:
        yield lines


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, Line]]:
    """A bare end, and the line at the other one."""
    bare, end = Line.pair()
    line = Line(end)
    yield bare, line
    bare.close()
    line.close()


def frames_of(rng: random.Random, count: int, largest: int) -> list[Frame]:
    """Frames of any size; small ones as often as large ones."""
    sizes = [int(largest ** rng.random()) for _ in range(count)]
    return [Frame(rng.choice(list(Kind)), rng.randbytes(size)) for size in sizes]


def carry(lines: tuple[Line, Line], count: int) -> list[Frame]:
    """Let the loops of both sides turn until so many frames have come to the second."""
    first, second = lines
    came: list[Frame] = []
    while len(came) < count:
        if second.fileno() in wait_for_news([first, second], 10.0):
            came += second.receive()
    return came


# -- everything arrives


@pytest.mark.parametrize("seed", range(8))
def test_whatever_stalls_everything_arrives_in_order(
    pair: tuple[Line, Line], seed: int
) -> None:
    rng = random.Random(seed)
    count, largest = (200, 2000) if seed % 2 else (25, 2 * MEGABYTE)
    sent = [frames_of(rng, count, largest) for _side in pair]
    to_send = [list(frames) for frames in sent]
    came: list[list[Frame]] = [[], []]
    liveliness = [rng.choice([0.02, 0.3, 1.0]), rng.choice([0.02, 0.3, 1.0])]
    while sum(map(len, came)) < 2 * count:
        side = rng.choices([0, 1], liveliness)[0]
        if to_send[side] and rng.random() < 0.5:
            pair[side].send(to_send[side].pop(0).encode())
        elif rng.random() < 0.5:
            pair[side].flush()
        else:
            came[side] += pair[side].receive()
    assert came == [sent[1], sent[0]]
    assert not pair[0].is_waiting
    assert not pair[1].is_waiting


def test_both_full_at_once(pair: tuple[Line, Line]) -> None:
    frames = [Frame(Kind.RECORD, bytes([n]) * MEGABYTE) for n in range(10)]
    for frame in frames:
        for line in pair:
            line.send(frame.encode())
    assert pair[0].is_waiting
    assert pair[1].is_waiting
    came: dict[Line, list[Frame]] = {line: [] for line in pair}
    while any(len(frames) < 10 for frames in came.values()):
        readable = wait_for_news(pair, 10.0)
        for line in pair:
            if line.fileno() in readable:
                came[line] += line.receive()
    assert came[pair[0]] == came[pair[1]] == frames


def test_one_side_full_and_silent_does_not_keep_the_other_from_telling(
    pair: tuple[Line, Line],
) -> None:
    pair[0].send(Frame(Kind.PARCELS, b"x" * 8 * MEGABYTE).encode())
    assert pair[0].is_waiting
    pair[1].send(control(Kind.WANT))
    assert pair[0].receive() == [Frame(Kind.WANT)]


@pytest.mark.parametrize("size", [0, 1, BITE - HEADER.size, BITE, BITE + 1])
def test_sizes_around_a_bite(pair: tuple[Line, Line], size: int) -> None:
    frames = [Frame(Kind.RECORD, b"a" * size), Frame(Kind.SAVED, b"b" * size)]
    for frame in frames:
        pair[0].send(frame.encode())
    assert carry(pair, 2) == frames


def test_thousands_of_small_frames(pair: tuple[Line, Line]) -> None:
    frames = [Frame(Kind.SETTLED, b"%d" % n) for n in range(20_000)]
    for frame in frames:
        pair[0].send(frame.encode())
    assert carry(pair, len(frames)) == frames


def test_nothing_came(pair: tuple[Line, Line]) -> None:
    assert pair[0].receive() == []
    assert not pair[0].closed


# -- cuts


FRAME = Frame(Kind.ARRIVED, bytes(range(60)))


@pytest.mark.parametrize("cut", range(len(FRAME.encode()) + 1))
def test_line_that_is_cut_within_a_frame(
    raw: tuple[socket.socket, Line], cut: int
) -> None:
    bare, line = raw
    bare.sendall(FRAME.encode() + FRAME.encode()[:cut])
    bare.close()
    whole = cut == len(FRAME.encode())
    assert line.receive() == [FRAME] * (1 + whole)
    assert line.closed
    assert line.receive() == []


def test_frame_that_comes_byte_by_byte(raw: tuple[socket.socket, Line]) -> None:
    bare, line = raw
    data = FRAME.encode()
    for n in range(len(data) - 1):
        bare.sendall(data[n : n + 1])
        assert line.receive() == []
    bare.sendall(data[-1:])
    assert line.receive() == [FRAME]


@pytest.mark.parametrize("cut", range(1, 2 * len(FRAME.encode())))
def test_two_frames_in_two_pieces(raw: tuple[socket.socket, Line], cut: int) -> None:
    bare, line = raw
    data = FRAME.encode() * 2
    came = []
    for piece in (data[:cut], data[cut:]):
        bare.sendall(piece)
        came += line.receive()
    assert came == [FRAME, FRAME]


# -- the end


def test_last_words_are_heard(pair: tuple[Line, Line]) -> None:
    pair[0].send(FRAME.encode())
    pair[0].close()
    assert pair[1].receive() == [FRAME]
    assert pair[1].closed


def test_last_words_of_one_who_did_not_listen_are_heard(
    pair: tuple[Line, Line],
) -> None:
    pair[1].send(FRAME.encode())
    pair[0].send(FRAME.encode())
    pair[0].close()
    assert pair[1].receive() == [FRAME]
    assert pair[1].closed


def test_last_words_of_one_who_is_gone_are_read(pair: tuple[Line, Line]) -> None:
    """Writing to it fails; what it wrote before still comes."""
    pair[1].send(FRAME.encode())
    pair[1].close()
    pair[0].send(FRAME.encode())
    assert not pair[0].is_waiting
    pair[0].send(FRAME.encode())
    assert pair[0].receive() == [FRAME]
    assert pair[0].closed


def test_end_is_noticed_while_something_waits(pair: tuple[Line, Line]) -> None:
    pair[0].send(b"\0" * 4 * MEGABYTE)
    assert pair[0].is_waiting
    pair[1].close()
    number = pair[0].fileno()
    assert wait_for_news([pair[0]], 10.0) == {number}
    wait_until(lambda: not pair[0].receive() and pair[0].closed)
    assert not pair[0].is_waiting


def test_close_twice(pair: tuple[Line, Line]) -> None:
    pair[0].close()
    pair[0].close()
    assert pair[0].closed


def test_ends_are_not_inherited(pair: tuple[Line, Line]) -> None:
    assert not os.get_inheritable(pair[0].fileno())
    assert not pair[0].end.getblocking()


# -- handing over


def hand_over(line: Line, words: bytes) -> Line:
    """Send one end of a new line, and give the other one."""
    ours, theirs = Line.pair()
    line.send(control(Kind.INTRODUCE, row=1), handing=theirs)
    kept = Line(ours)
    kept.send(Frame(Kind.HELLO, words).encode())
    return kept


def test_end_of_a_line_is_handed_over(pair: tuple[Line, Line]) -> None:
    kept = hand_over(pair[0], b"hello")
    assert pair[1].receive() == [Frame(Kind.INTRODUCE, b'{"row":1}')]
    handed = pair[1].take_handed()
    assert handed.receive() == [Frame(Kind.HELLO, b"hello")]
    assert not os.get_inheritable(handed.fileno())
    handed.close()
    assert kept.receive() == []
    assert kept.closed


def test_several_come_in_their_order(pair: tuple[Line, Line]) -> None:
    kept = [hand_over(pair[0], b"%d" % n) for n in range(20)]
    for n, frame in enumerate(carry(pair, 20)):
        assert frame.kind is Kind.INTRODUCE
        handed = pair[1].take_handed()
        assert handed.receive() == [Frame(Kind.HELLO, b"%d" % n)]
        handed.close()
    for line in kept:
        line.close()


def test_end_is_handed_over_on_a_full_line(pair: tuple[Line, Line]) -> None:
    large = Frame(Kind.VITALS, b"x" * 2 * MEGABYTE)
    pair[0].send(large.encode())
    assert pair[0].is_waiting
    kept = hand_over(pair[0], b"late")
    pair[0].send(large.encode())
    kinds = [frame.kind for frame in carry(pair, 3)]
    assert kinds == [Kind.VITALS, Kind.INTRODUCE, Kind.VITALS]
    handed = pair[1].take_handed()
    assert handed.receive() == [Frame(Kind.HELLO, b"late")]
    handed.close()
    kept.close()


def test_end_for_one_who_is_gone_is_closed(pair: tuple[Line, Line]) -> None:
    pair[1].close()
    for _ in range(2):
        kept = hand_over(pair[0], b"")
        assert kept.receive() == []
        assert kept.closed


def test_end_that_still_waits_is_closed_with_the_line(pair: tuple[Line, Line]) -> None:
    pair[0].send(b"\0" * 4 * MEGABYTE)
    kept = hand_over(pair[0], b"")
    assert kept.receive() == []
    assert not kept.closed
    pair[0].close()
    kept.receive()
    assert kept.closed


# -- waiting


def test_no_news(pair: tuple[Line, Line]) -> None:
    assert wait_for_news(pair, 0.0) == set()
    assert wait_for_news([], -1.0) == set()


def test_news_on_a_line_and_on_another_descriptor(pair: tuple[Line, Line]) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"!")
    pair[0].send(control(Kind.WANT))
    assert wait_for_news(pair, 0.0, [reading]) == {pair[1].fileno(), reading}
    os.close(reading)
    os.close(writing)


def test_hang_up_is_news(pair: tuple[Line, Line]) -> None:
    pair[0].close()
    assert wait_for_news(pair, 10.0) == {pair[1].fileno()}


def test_what_waits_is_written_meanwhile(pair: tuple[Line, Line]) -> None:
    frame = Frame(Kind.RECORD, b"y" * 3 * MEGABYTE)
    pair[0].send(frame.encode())
    assert pair[0].is_waiting
    assert carry(pair, 1) == [frame]
    assert not pair[0].is_waiting


# -- introductions


class Introduced:
    """A child that keeps the end of a line that it is given."""

    def __init__(self, kind: str) -> None:
        self.kind, self.generation, self.row = kind, 1, 0
        self.line = self
        self.end: Any = None

    def send(self, _frame: bytes, handing: socket.socket) -> None:
        self.end = handing

    @property
    def room(self) -> int:
        return int(self.end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))


def test_worker_may_be_ahead_of_the_monitor() -> None:
    """On what systems have by default, it would wait while results are saved."""
    usual, ends = socket.socketpair(), [*map(Introduced, ("worker", "monitor"))]
    one, other = ends
    introduce(cast("Any", one), cast("Any", other))
    with usual[0] as plain, usual[1], one.end, other.end:
        standard = plain.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert other.room == standard
        widen(plain)
        assert one.room == plain.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert one.room > standard


def test_system_that_refuses_more_keeps_what_it_has() -> None:
    end = Refusing()
    widen(cast("Any", end))
    assert end.asked


class Refusing:
    asked = False

    def setsockopt(self, *_words: int) -> None:
        self.asked = True
        raise OSError(ENOBUFS, "No buffer space available")
