"""The producer: `python -m benchmarks.site.produce MODE COUNT FIRST [FILE]`.

Modes: `single`, one call after the other; `bulk`, the peer's own call for many, a
thousand at once; `load`, whichever is quicker; `latency`, a call each 50 ms. With a file,
it gets the number and the moment of each call. Prints what it took, as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import os
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import IO, Final

from benchmarks.site.told import TOLD

CALL: Final = 1000
PAUSE: Final = 0.05
MOMENT: Final = struct.Struct("<qq")
OTHER: Final = 2
"""The second argument of every task."""


class Diary:
    """When each call began, for those who want to know how long it took from there."""

    def __init__(self, file: IO[bytes] | None) -> None:
        self.file = file

    def note(self, number: int) -> None:
        if self.file is not None:
            self.file.write(MOMENT.pack(number, time.monotonic_ns()))
            self.file.flush()


def main(mode: str, count: str, first: str, path: str | None = None) -> None:
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        importlib.import_module("django").setup()
        logging.disable(logging.CRITICAL)
    module = importlib.import_module(f"benchmarks.site.{TOLD['producer']}")
    numbers = range(int(first), int(first) + int(count))
    pause = PAUSE if mode == "latency" else 0.0
    is_bulk = mode == "bulk" or (mode == "load" and hasattr(module, "bulk"))
    with ExitStack() as stack:
        file = stack.enter_context(Path(path).open("wb")) if path else None
        diary = Diary(file)
        if is_bulk:
            took = in_calls(module, numbers)
        elif inspect.iscoroutinefunction(module.one):
            took = asyncio.run(on_a_loop(module, numbers, pause, diary))
        else:
            took = one_by_one(module, numbers, pause, diary)
    rate = len(numbers) / took
    print(json.dumps({"seconds": took, "rate": rate, "bulk": is_bulk}))


def in_calls(module: ModuleType, numbers: Sequence[int]) -> float:
    calls = [[(i, OTHER) for i in some] for some in chunks(numbers)]
    begun = time.perf_counter()
    for pairs in calls:
        module.bulk(pairs)
    return time.perf_counter() - begun


def chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), CALL):
        yield numbers[start : start + CALL]


def one_by_one(
    module: ModuleType, numbers: Sequence[int], pause: float, diary: Diary
) -> float:
    begun = time.perf_counter()
    for number in numbers:
        diary.note(number)
        module.one(number, OTHER)
        if pause:
            time.sleep(pause)
    return time.perf_counter() - begun


async def on_a_loop(
    module: ModuleType, numbers: Sequence[int], pause: float, diary: Diary
) -> float:
    async with module.connected():
        begun = time.perf_counter()
        for number in numbers:
            diary.note(number)
            await module.one(number, OTHER)
            if pause:
                await asyncio.sleep(pause)
        return time.perf_counter() - begun


if __name__ == "__main__":
    main(*sys.argv[1:])
