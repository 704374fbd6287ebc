"""Board: memory that all processes of a cluster see, one writer for each word.

No locks: an aligned word of eight bytes is written and read in one step. A decision may
rest on one word, or on several words of a process that is dead (decision 0004).
"""

from __future__ import annotations

import ctypes
import enum
import hashlib
from collections.abc import Container
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django_q.logs import clean

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

HEADER_WORDS: Final = 16
ROW_WORDS: Final = 16
PLACE_WORDS: Final = 3
TEXT_BYTES: Final = 192
"""Room for the name of what a worker runs, in UTF-8."""

VOID_PAUSE: Final = 0.01
"""Seconds between raising `void` and reading `turn`: long enough for any store to
become visible everywhere (decision 0004)."""

LONGEST_LIMIT: Final = 1e8
"""Seconds; more, and for ever, comes to the same."""

NUMBER_BITS: Final = 24
DEADLINE_BITS: Final = 38
EPOCH_SHIFT: Final = 48
NUMBER_SHIFT: Final = DEADLINE_BITS + 2
NUMBER_MASK: Final = (1 << NUMBER_BITS) - 1
DEADLINE_MASK: Final = (1 << DEADLINE_BITS) - 1


class Word(enum.IntEnum):
    """Words of the header, and who writes each."""

    BIRTH = 0
    """Root: milliseconds of the monotonic clock when the cluster began."""
    EPOCH = 1
    """Pusher: how many pushers there have been."""
    LEASE_UNTIL = 2
    """Pusher: until when parcels may be started, in ms since birth."""
    WAITING = 3
    """Pusher: packages in the house that are not started."""
    UNSAVED = 4
    """Monitor: ended runs in its hands."""
    PUSHER = 5
    """Sentinel: pid, as the next two."""
    MONITOR = 6
    HOUSEKEEPER = 7
    LIMIT = 8
    """Pusher: how many packages it would have waiting at most."""
    CONCLUDING = 9
    """Pusher: tasks whose worker was killed and whose end is not recorded yet."""
    HELD = 10
    """Pusher: packages that are neither done with nor given back."""
    FINISHED = 11
    """Pusher: packages that were done with, ever; as the next one, of all pushers."""
    RETURNED = 12
    """Pusher: packages that were given back."""


class Cell(enum.IntEnum):
    """Words of a worker's row; the worker writes all but `VOID` and `WHO`."""

    TURN = 0
    NUMBER = 1
    KEY = 2
    STARTED = 3
    KEPT = 4
    """Ended runs that are not saved yet."""
    PACE = 5
    """Microseconds that a run takes of late."""
    VOID = 6
    """Pusher: no parcel with this number or a lower one may be started."""
    WHO = 7
    """Sentinel: generation and pid."""
    ROOM = 8
    """Parcels that it could begin at once: this and the next two only where a worker has
    several places."""
    BUSY = 9
    """Parcels that it has begun and not ended."""
    RETIRING = 10
    """1: it begins no more."""


class PlaceCell(enum.IntEnum):
    """Words of one of several places in a worker, which writes them."""

    TURN = 0
    NUMBER = 1
    KEY = 2


class State(enum.IntEnum):
    """What a worker does with the parcel whose number its row shows."""

    IDLE = 0
    """Nothing; that parcel was the last."""
    OPENING = 1
    RUNNING = 2
    FINISHING = 3
    """It is saved; its hook runs."""


STATES: Final = tuple(State)


def state_in(word: int) -> State:
    """The state in the one word of a packed turn; asked of each worker all the time."""
    return STATES[word >> DEADLINE_BITS & 3]


def pack_turn(number: int, state: State, deadline: int) -> int:
    """The word of a turn, for those who write one several times for each task."""
    head = (number & NUMBER_MASK) << NUMBER_SHIFT | state << DEADLINE_BITS
    return head | min(deadline, DEADLINE_MASK)


class Turn(NamedTuple):
    """The one word on which decisions about a living worker rest."""

    number: int
    """The low bits of the parcel's number."""
    state: State
    deadline: int
    """Milliseconds since birth; 0: none."""

    def pack(self) -> int:
        return pack_turn(*self)

    @classmethod
    def unpack(cls, word: int) -> Turn:
        return cls(word >> NUMBER_SHIFT, state_in(word), word & DEADLINE_MASK)


AT_WORK: Final = (State.OPENING, State.RUNNING)
NOT_IDLE: Final = (*AT_WORK, State.FINISHING)
"""A hook of an earlier parcel may run before one that is begun."""


class Begun(NamedTuple):
    """A parcel that a worker has begun and not ended."""

    number: int
    key: int
    is_opening: bool


class Place:
    """One of several places in a worker: what it does there."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def __getitem__(self, cell: PlaceCell) -> int:
        return int(self._words[cell])

    def __setitem__(self, cell: PlaceCell, value: int) -> None:
        self._words[cell] = value


class Row:
    """One worker's row. Read by all, written word by word by its owners.

    A worker with several places writes each parcel to one of them, and to the row that
    which is due first.
    """

    def __init__(self, words: memoryview, text: memoryview, places: memoryview) -> None:
        self.words = words
        """By `Cell`: for who reads or writes many of them for each task."""
        self._text = text
        self._places = places

    def __getitem__(self, cell: Cell) -> int:
        return int(self.words[cell])

    def __setitem__(self, cell: Cell, value: int) -> None:
        self.words[cell] = value

    @property
    def task(self) -> str:
        """What runs, for the eyes of people: it is no word, and may be torn."""
        text = bytes(self._text).partition(b"\0")[0].decode("utf-8", "replace")
        return clean(text) if text and self.state is State.RUNNING else "a task"

    @task.setter
    def task(self, shown: str) -> None:
        data = shown[:TEXT_BYTES].encode("utf-8", "replace")[: TEXT_BYTES - 1] + b"\0"
        self._text[: len(data)] = data

    @property
    def turn(self) -> Turn:
        return Turn.unpack(self[Cell.TURN])

    @property
    def state(self) -> State:
        """That of its turn."""
        return state_in(self[Cell.TURN])

    def place(self, index: int) -> Place:
        """One of its places, by its index from 0."""
        start = index * PLACE_WORDS
        return Place(self._places[start : start + PLACE_WORDS])

    def begun(self, states: Container[State] = AT_WORK) -> list[Begun]:
        """What it has begun and not ended. Of one that lives, as of this moment: whoever
        decides on that must forbid it to begin more before.
        """
        if self[Cell.KEY] or not self._places:
            found = [(self[Cell.TURN], self[Cell.NUMBER], self[Cell.KEY])]
        else:
            words = self._places.tolist()
            found = list(zip(*(words[n::PLACE_WORDS] for n in PlaceCell), strict=True))
        seen = [state_in(word) for word, _number, _key in found]
        return [
            Begun(number, key, state is State.OPENING)
            for state, (_word, number, key) in zip(seen, found, strict=True)
            if state in states
        ]

    def clear(self) -> None:
        """Make the row ready for a worker; only while nobody uses it."""
        for cell in Cell:
            self[cell] = 0
        self._places[:] = memoryview(bytes(self._places.nbytes)).cast("Q")
        self.task = ""

    def belongs_to(self, generation: int, pid: int) -> None:
        """The sentinel notes whose row this is from now on."""
        self[Cell.WHO] = generation << 32 | pid

    @property
    def generation(self) -> int:
        return self[Cell.WHO] >> 32

    @property
    def pid(self) -> int:
        return self[Cell.WHO] & 0xFFFFFFFF


class Board:
    """The cluster's shared memory. Made by the root, handed to every child."""

    def __init__(self, context: BaseContext, rows: int, places: int = 0) -> None:
        """`places`: those of each worker, where it has several."""
        words = ROW_WORDS + places * PLACE_WORDS + TEXT_BYTES // 8
        size = HEADER_WORDS + rows * words
        # A line of the processor's cache has 64 bytes; with the rows aligned to it no
        # word lies across two lines, where a store would not be one step.
        padded = context.RawArray(ctypes.c_uint64, size + ROW_WORDS)
        self._attach(padded, rows, places)
        self[Word.BIRTH] = int(monotonic() * 1000)

    def _attach(self, padded: Any, rows: int, places: int) -> None:
        self._padded = padded
        self._places = places
        address = ctypes.addressof(padded)
        skip = -address % 64 // 8
        self._words = memoryview(padded).cast("B").cast("Q")[skip:]
        rest = self._words[HEADER_WORDS + rows * ROW_WORDS :]
        size = places * PLACE_WORDS
        texts = rest[rows * size :].cast("B")
        own = self._words[HEADER_WORDS:]
        self.rows = [
            Row(
                own[n * ROW_WORDS : (n + 1) * ROW_WORDS],
                texts[n * TEXT_BYTES : (n + 1) * TEXT_BYTES],
                rest[n * size : (n + 1) * size],
            )
            for n in range(rows)
        ]

    def __getstate__(self) -> tuple[Any, int, int]:
        return self._padded, len(self.rows), self._places

    def __setstate__(self, state: tuple[Any, int, int]) -> None:
        self._attach(*state)

    def __getitem__(self, word: Word) -> int:
        return int(self._words[word])

    def __setitem__(self, word: Word, value: int) -> None:
        self._words[word] = value

    @property
    def lease_has_lapsed(self) -> bool:
        """It was not renewed in time: nothing may be started."""
        return self.now() > int(self._words[Word.LEASE_UNTIL])

    def done_with(self) -> tuple[int, int]:
        """Packages that were finished so far, and those that were given back."""
        return self[Word.FINISHED], self[Word.RETURNED]

    def deadline(self, limit: float | None) -> int:
        """When a limit of so many seconds that begins now is over, as a turn says it; 0:
        never.
        """
        if not limit:
            return 0
        return self.now() + int(min(limit, LONGEST_LIMIT) * 1000)

    def now(self) -> int:
        """Milliseconds since the cluster's birth."""
        return int(monotonic() * 1000) - int(self._words[Word.BIRTH])


def mark_of(receipt: str) -> int:
    """The word by which a receipt is known on the board."""
    digest = hashlib.blake2b(receipt.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def number_of(epoch: int, sequence: int) -> int:
    """A parcel's number: ascending over the whole life of a cluster."""
    return epoch << EPOCH_SHIFT | sequence
