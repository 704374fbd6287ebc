"""The functions that the tests run as tasks."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn


def add(*numbers: float) -> float:
    return sum(numbers)


def echo(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """What a task was given."""
    return {"args": args, "kwargs": kwargs}


def nothing(*_args: Any) -> None:
    """A task that returns None."""


def fail(message: str = "on purpose") -> NoReturn:
    raise ValueError(message)


def sleep(seconds: float = 1.0) -> float:
    time.sleep(seconds)
    return seconds


def spin(seconds: float = 1.0) -> int:
    """Busy for so long, without ever giving the processor away."""
    turns, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        turns += 1
    return turns


def swallow(seconds: float = 30.0) -> str:
    """Catch every exception that comes, also a timeout's, and go on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException:  # noqa: BLE001, S112 - this is what it is for
            continue
    return "swallowed"


async def add_later(*numbers: float) -> float:
    await asyncio.sleep(0.01)
    return sum(numbers)


def leave(status: int = 0) -> NoReturn:
    """Raise SystemExit."""
    sys.exit(status)


def die(status: int = 1) -> NoReturn:
    """End the process without a word."""
    os._exit(status)


def kill_me(number: int = 9) -> None:
    """Send a signal to the process that runs the task."""
    os.kill(os.getpid(), number)


def pid() -> int:
    return os.getpid()


def unpicklable() -> Any:
    return lambda: None


class Unprintable(Exception):
    """Neither str() nor repr() of it works."""

    def __str__(self) -> str:
        raise RuntimeError("cannot be printed")

    __repr__ = __str__


class Unpicklable(Exception):
    """Cannot be sent to another process."""

    def __init__(self, _left: int, _right: int) -> None:
        super().__init__("cannot be pickled")
        self.held = lambda: None


def fail_unprintably() -> NoReturn:
    raise Unprintable


def fail_unpicklably() -> NoReturn:
    raise Unpicklable(1, 2)


def big(size: int) -> str:
    return "x" * size


# ---------------------------------------------------------------- what happened


def log(path: str | Path, word: str = "ran") -> str:
    """Append one line to a file, whole, whoever else appends to it."""
    line = f"{word} {os.getpid()} {time.monotonic():.6f}\n".encode()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)
    return word


def words(path: str | Path) -> list[str]:
    """The words that `log` appended so far, in order."""
    file = Path(path)
    if not file.exists():
        return []
    return [line.split()[0] for line in file.read_text().splitlines()]


def log_and_sleep(path: str, word: str, seconds: float) -> str:
    """Say that it started, work for a while, say that it ended."""
    log(path, f"start:{word}")
    time.sleep(seconds)
    log(path, f"end:{word}")
    return word


def log_and_die(path: str, word: str = "ran") -> NoReturn:
    log(path, word)
    os._exit(1)


def log_and_fail(path: str, word: str = "ran") -> NoReturn:
    log(path, word)
    raise ValueError(word)


def flaky(path: str, succeed_at: int = 3) -> int:
    """Fail until it was tried so many times."""
    log(path)
    tries = len(words(path))
    if tries < succeed_at:
        raise ValueError(f"try {tries}")
    return tries


def log_result(task: Any) -> None:
    """A hook: write the result of a task to the file named by its first argument."""
    log(task.args[0], f"hook:{task.success}")


def broken_hook(task: Any) -> NoReturn:
    raise ValueError(f"hook of {task.id}")
