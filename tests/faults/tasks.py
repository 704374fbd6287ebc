"""The tasks of these tests. They write what happened to a file, and see it written."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

from tests.functions import words

HOURS_IN_C = 5 * 10**11


def work(path: str, word: str, seconds: float = 0.0) -> str:
    """Start, take so long, end."""
    note(path, f"start:{word}")
    time.sleep(seconds)
    note(path, f"end:{word}")
    return word


def outlast_a_stop(path: str, word: str, seconds: float = 0.0) -> str:
    """Take an hour when it is run for the first time."""
    return work(path, word, 3600 if is_first_run(path, word) else seconds)


def wedge(path: str, word: str, seconds: float = 0.0) -> str:
    """Stay in C for hours when it is run for the first time: no signal handler runs."""
    if is_first_run(path, word):
        note(path, f"start:{word}")
        sum(itertools.repeat(0, HOURS_IN_C))
    return work(path, word, seconds)


def is_first_run(path: str, word: str) -> bool:
    return f"start:{word}" not in words(path)


def fail_if_late(path: str, word: str, seconds: float = 0.0) -> str:
    """The same, but it fails if others began it meanwhile: it stood still for too long."""
    mine = f"start:{word} {os.getpid()} "
    work(path, word, seconds)
    starts = [line for line in lines(path) if line.startswith(f"start:{word} ")]
    if not starts[-1].startswith(mine):
        note(path, f"fail:{word}")
        raise TimeoutError(word)
    return word


def lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def note(path: str, word: str) -> None:
    """Append a line that outlives the crash of this process, and of the machine."""
    line = f"{word} {os.getpid()} {time.monotonic():.6f}\n".encode()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def work_slot(path: str, name: str, seconds: float = 0.0, *, slot: str) -> str:
    """The same as a scheduled task, for which slot of which schedule."""
    return work(path, word_of(name, slot), seconds)


def word_of(name: str, slot: str) -> str:
    """How a slot is called where colons stand between words."""
    return f"{name}@{slot.replace(':', '.')}"
