"""Tasks and hooks that do harm, and values that are hard to keep."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from typing import Any, NoReturn

from tests.functions import log

MEGABYTE = 1024 * 1024


def leave_with_seven(path: str) -> NoReturn:
    log(path)
    os._exit(7)  # noqa: TID251 - this is what it is for


def eat_memory_and_be_killed(path: str) -> None:
    """Take memory until there is no more, and die of signal 9.

    It is this process that sends the signal. The kernel's own killer would send the same,
    but only acts when the machine, or a memory cgroup that few may make, is full.
    """
    log(path)
    size = os.sysconf("SC_PAGE_SIZE") * pages()
    limit = size + 64 * MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    eaten = []
    try:
        while True:
            eaten.append(bytes(MEGABYTE))
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)


def pages() -> int:
    """The size of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[0])


def ask_for_too_much() -> bytearray:
    return bytearray(2**62)


def hook_that_leaves(task: Any) -> NoReturn:
    log(task.args[0], "hook")
    sys.exit(3)


def hook_that_dies(task: Any) -> NoReturn:
    log(task.args[0], "hook")
    os._exit(7)  # noqa: TID251 - this is what it is for


def hook_that_hangs(task: Any) -> None:
    log(task.args[0], "hook")
    time.sleep(60)
