"""Tasks that only make sense where a real worker can be harmed."""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import importlib
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from django_q.conf import Conf
from django_q.tasks import async_task
from tests.functions import log, words

ONE_MINUTE_IN_C = 5 * 10**9


def block_in_c(path: str, word: str = "ran") -> int:
    """Stay in one C loop for a minute: no signal handler runs, no other thread either."""
    log(path, word)
    return sum(itertools.repeat(0, ONE_MINUTE_IN_C))


def crash(path: str, word: str = "ran") -> bytes:
    """Read address 0: a segmentation fault."""
    log(path, word)
    return ctypes.string_at(0)


def kill_worker(path: str, word: str = "ran") -> None:
    """As the system does to whom it takes for a waster of memory."""
    log(path, word)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def raise_this(name: str) -> NoReturn:
    """Raise the builtin exception of this name."""
    raise getattr(builtins, name)("on purpose")


def recurse() -> Any:
    return recurse()


def swallow_once(path: str, seconds: float = 30.0) -> str:
    """Catch whatever comes first, and go on."""
    try:
        time.sleep(seconds)
    except BaseException:  # noqa: BLE001 - this is what it is for
        log(path, "swallowed")
    time.sleep(seconds)
    return "ended"


def log_slot(path: str, *, slot: str) -> None:
    """A scheduled task that tells for which moment it was meant."""
    log(path, slot)


def eat_memory(path: str, megabytes: int) -> int:
    log(path, "ate")
    return len(bytearray(os.urandom(1024)) * 1024 * megabytes)


def fork_and_leave(path: str, seconds: float) -> int:
    """Leave a child process behind, which has all descriptors that it may have."""
    child = os.fork()
    if not child:
        time.sleep(seconds)
        os._exit(0)  # noqa: TID251 - a child of a task, not one of ours
    log(path, f"child:{child}")
    return child


class RaisesOnLoad:
    """A value that can be sent, but not opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ()


class DiesOnLoad:
    """A value that kills whoever opens it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return log_and_exit, (self.path,)


class DiesOnceOnLoad:
    """A value that kills the first process that opens it; then it is the text "lived"."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return exit_once, (self.path,)


class Evil:
    """A pickle that does harm when it is opened: it writes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)


class Witness:
    """A pickle that notes who opens it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return log, (self.path,)


def refuse() -> NoReturn:
    raise RuntimeError("cannot be opened")


def log_and_exit(path: str) -> NoReturn:
    log(path, "opened")
    os._exit(7)  # noqa: TID251 - this is what it is for


def exit_once(path: str) -> str:
    if not words(path):
        log_and_exit(path)
    return "lived"


def give_what_kills(path: str) -> DiesOnceOnLoad:
    """A result that kills who collates it."""
    return DiesOnceOnLoad(path)


def give(name: str) -> Any:
    """Results that are hard to keep."""
    kinds: dict[str, Callable[[], Any]] = {
        "refuses to load": RaisesOnLoad,
        "zero byte": lambda: "a\x00b",
        "half a character": lambda: "\ud800",
        "deep": lambda: nest(5000),
        "five megabytes": lambda: "x" * 5_000_000,
        "a generator": lambda: (n for n in range(3)),
    }
    return kinds[name]()


def nest(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


async def sleep_later(seconds: float) -> None:
    await asyncio.sleep(seconds)


def pids(path: str | Path) -> list[int]:
    """Who wrote the lines of `tests.functions.log`, in order."""
    lines = Path(path).read_text().splitlines()
    return [int(line.split()[1]) for line in lines]


def read_conf(*names: str) -> list[Any]:
    """What the worker's own settings are."""
    return [getattr(Conf, name) for name in names]


def gauge_and_sleep(path: str, seconds: float) -> None:
    """Leave a gauge that counts only while this process lives."""
    prometheus = importlib.import_module("prometheus_client")
    gauge = prometheus.Gauge("busy", "Busy", multiprocess_mode="liveall")
    gauge.set(1)
    log(path, "ran")
    time.sleep(seconds)


def start_a_process() -> int | None:
    """By multiprocessing; gives its exit code."""
    process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(7,))
    process.start()
    process.join()
    return process.exitcode


def order(queues: Sequence[str], group: str) -> None:
    """Queue a task for each of them."""
    for queue in queues:
        async_task("tests.functions.add", 1, 1, cluster=queue, group=group)


def wait_for_go(path: str, word: str) -> None:
    """Say that it started; end when somebody says "go"."""
    log(path, f"start:{word}")
    while "go" not in words(path):
        time.sleep(0.02)
    log(path, f"end:{word}")


async def wait_for_go_later(path: str, word: str) -> None:
    """The same for coroutines."""
    log(path, f"start:{word}")
    while "go" not in words(path):
        await asyncio.sleep(0.02)
    log(path, f"end:{word}")


MET: list[str] = []
"""Who has come to `meet_later` in this process."""


async def meet_later(word: str, count: int) -> int:
    """Ends when so many have begun: all of them in this process, at the same time."""
    MET.append(word)
    while len(MET) < count:
        await asyncio.sleep(0.1)
    return len(MET)
