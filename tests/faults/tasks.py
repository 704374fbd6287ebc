"""The tasks of these tests. They write what happened to a file, and see it written."""

from __future__ import annotations

import os
import time


def work(path: str, word: str, seconds: float = 0.0) -> str:
    """Start, take so long, end."""
    note(path, f"start:{word}")
    time.sleep(seconds)
    note(path, f"end:{word}")
    return word


def note(path: str, word: str) -> None:
    """Append a line that outlives the crash of this process, and of the machine."""
    line = f"{word} {os.getpid()} {time.monotonic():.6f}\n".encode()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)
