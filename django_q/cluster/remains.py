"""Remains: the processes that a dead sentinel leaves behind, and their end."""

from __future__ import annotations

import os
from contextlib import suppress
from time import monotonic, sleep
from typing import Final

from django_q.cluster.board import Board, Word
from django_q.cluster.roles import kill_group
from django_q.optional import find_optional

PATIENCE: Final = 5.0
LOOK_EVERY: Final = 0.02


def end_remains(board: Board) -> None:
    """Kill every role of a sentinel that died, and wait until all are gone.

    Only then may a new sentinel start: an orphan would run what the new pusher hands
    out once more. Their pids stand on the board, which outlives the sentinel.
    """
    pids = [board[word] for word in (Word.PUSHER, Word.MONITOR, Word.HOUSEKEEPER)]
    pids += [row.pid for row in board.rows]
    for pid in filter(None, pids):
        kill_group(pid)
    until = monotonic() + PATIENCE
    while any(map(is_alive, filter(None, pids))) and monotonic() < until:
        sleep(LOOK_EVERY)
    for row in board.rows:
        row.clear()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not.

    Without psutil the two can't be told apart.
    """
    reap_adopted(pid)
    psutil = find_optional("psutil")
    if psutil is None:
        return is_there(pid)
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # It is somebody else's by now.
        return False
    return True


def reap_adopted(pid: int) -> None:
    """As PID 1 of a container we inherit the dead sentinel's children."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
