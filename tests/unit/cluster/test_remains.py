"""What a dead sentinel leaves behind is ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from django_q.cluster.board import Cell, Word
from django_q.cluster.remains import end_remains, is_alive
from tests.unit.cluster.making import make_board
from tests.waiting import wait_until

PROGRAM = "import signal; signal.pause()"
FORKING = """
import os, signal
if other := os.fork():
    print(other, flush=True)
signal.pause()
"""


@pytest.fixture
def start() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start processes that stay until they are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", PROGRAM]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_every_role_is_killed(start: Callable[[], subprocess.Popen[bytes]]) -> None:
    board = make_board()
    roles = [start() for _ in range(5)]
    singles = (Word.PUSHER, Word.MONITOR, Word.HOUSEKEEPER)
    for word, role in zip(singles, roles[:3], strict=True):
        board[word] = role.pid
    for row, role in zip(board.rows[:2], roles[3:], strict=True):
        row.belongs_to(7, role.pid)
        row[Cell.NUMBER] = 9
    stranger = start()

    end_remains(board)

    assert not any(psutil.pid_exists(role.pid) for role in roles)
    assert stranger.poll() is None
    assert all(row[cell] == 0 for row in board.rows for cell in Cell)


def test_board_without_anybody() -> None:
    board = make_board()
    board.rows[0][Cell.NUMBER] = 3
    end_remains(board)
    assert board.rows[0][Cell.NUMBER] == 0


def test_those_who_have_gone_by_themselves(
    start: Callable[[], subprocess.Popen[bytes]],
) -> None:
    role = start()
    role.kill()
    role.wait()
    board = make_board()
    board[Word.MONITOR] = role.pid
    end_remains(board)
    assert not is_alive(role.pid)


def test_process_that_runs_is_alive(
    start: Callable[[], subprocess.Popen[bytes]],
) -> None:
    role = start()
    assert is_alive(role.pid)
    role.kill()
    wait_until(lambda: not is_alive(role.pid))


def test_without_psutil(
    start: Callable[[], subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    role = start()
    assert is_alive(role.pid)
    board = make_board()
    board[Word.MONITOR] = role.pid
    end_remains(board)
    assert not is_alive(role.pid)


def test_process_that_another_one_must_collect_is_not_alive() -> None:
    program = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', ''])\n"
        "os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        zombie = int(parent.stdout.readline())
        assert psutil.pid_exists(zombie)
        assert not is_alive(zombie)


def test_what_somebody_forked_who_has_gone_by_himself() -> None:
    command = [sys.executable, "-c", FORKING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as role:
        assert role.stdout is not None
        fork = int(role.stdout.readline())
        role.kill()
        role.wait()
        board = make_board()
        board[Word.MONITOR] = role.pid
        assert is_alive(fork)
        end_remains(board)
        wait_until(lambda: not is_alive(fork))
