"""The tasks: all peers run the same, and each run leaves one line in a file.

A line is four numbers of eight bytes: the first argument, when the task began and when it
ended in nanoseconds of a clock that all processes share, and the process. One append of
32 bytes is whole whoever else appends.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from functools import cache
from typing import Final

from benchmarks.site.told import TOLD

LINE: Final = struct.Struct("<qqqq")


def noop(a: int, b: int, payload: bytes = b"") -> int:
    """No work but its line; the payload only travels."""
    note(a, time.monotonic_ns())
    return a + b


def nap(a: int, seconds: float) -> int:
    """Wait, as a task does that asks another service."""
    begun = time.monotonic_ns()
    time.sleep(seconds)
    note(a, begun)
    return a


async def async_nap(a: int, seconds: float) -> int:
    begun = time.monotonic_ns()
    await asyncio.sleep(seconds)
    note(a, begun)
    return a


def note(a: int, begun: int) -> None:
    os.write(file(), LINE.pack(a, begun, time.monotonic_ns(), os.getpid()))


@cache
def file() -> int:
    """Open for as long as the process lives."""
    return os.open(TOLD["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
