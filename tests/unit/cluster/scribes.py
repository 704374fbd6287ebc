"""What other processes do in the tests of this folder; loads no apps."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection

from django_q.cluster.board import Board, Cell, Word
from django_q.cluster.lockfile import LockFile

EVERY_BYTE = 0x0101010101010101


def sleep_for_ever() -> None:
    signal.pause()


def write_equal_bytes(board: Board, row: int, rounds: int) -> None:
    """Write words whose eight bytes are all the same, ever another byte."""
    for n in range(rounds):
        value = (n & 0xFF) * EVERY_BYTE
        board[Word.LEASE_UNTIL] = value
        for cell in Cell:
            board.rows[row][cell] = value


def say_alignment(board: Board) -> None:
    """Leave with 0 if the board lies on the lines of the processor's cache here too."""
    words = (ctypes.c_uint64 * 1).from_buffer(board._words)  # noqa: SLF001
    board[Word.WAITING] = board[Word.UNSAVED] + 1
    sys.exit(ctypes.addressof(words) % 64)


def fork_and_sleep(told: Connection) -> None:
    """Lead a group of one's own with one more process in it, and say who that is."""
    os.setpgid(0, 0)
    other = os.fork()
    if other:
        told.send(other)
    signal.pause()


def hold_and_sleep(file: LockFile, told: Connection) -> None:
    file.hold()
    told.send(os.getpid())
    signal.pause()


def hold_and_fork(file: LockFile, told: Connection) -> None:
    """As a worker whose task forks."""
    file.hold()
    fork_and_sleep(told)


def hold_and_run_a_program(file: LockFile, told: Connection) -> None:
    """As a worker whose task starts a program that inherits all it can."""
    file.hold()
    program = subprocess.Popen(["sleep", "60"], close_fds=False)
    told.send(program.pid)
    signal.pause()
