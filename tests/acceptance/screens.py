"""TerminalProgram: a program in front of a real pseudo terminal, and what it shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pyte

from tests.waiting import wait_until

HOUSE = Path(__file__).resolve().parents[2]

# What a shell is for a program. The first terminal that the leader of a session opens
# becomes its own, so that keys like Ctrl-C are signals; and a program can be stopped
# by Ctrl-Z only if somebody of its session is there to let it go on.
SHELL = """
import os, signal, subprocess, sys
os.close(os.open(os.ttyname(0), os.O_RDWR))
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
program = subprocess.Popen([sys.executable, *sys.argv[1:]], process_group=0)
os.tcsetpgrp(0, program.pid)
sys.exit(program.wait())
"""
COLUMNS, LINES = 80, 24


class Screen(pyte.Screen):
    """Answers, as a terminal does, when it is asked where its cursor is."""

    def __init__(self, keyboard: int) -> None:
        super().__init__(COLUMNS, LINES)
        self._keyboard = keyboard

    def write_process_input(self, data: str) -> None:
        os.write(self._keyboard, data.encode())


class TerminalProgram:
    """Runs Python with these arguments in a terminal of 80 columns and 24 lines."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.arguments = arguments
        self.environment = {"TERM": "xterm-256color", **environment}
        self.written = b""
        self.master, self.slave = pty.openpty()
        self._lock = threading.Lock()
        self._screen = Screen(self.master)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(COLUMNS, LINES)
        self.modes_before = self.modes

    def __enter__(self) -> TerminalProgram:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHELL, *self.arguments],
            cwd=HOUSE,
            env=self._environment(),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.kill()
        self.process.wait(10)
        os.close(self.slave)
        self._reader.join(10)
        os.close(self.master)

    # -- what it shows

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_to_show(self, text: str, within: float = 15.0) -> None:
        """Wait until this can be read on the screen."""

        def shows_it() -> bool:
            if self.process.poll() is not None and text not in self.text:
                message = f"It ended with {self.process.returncode}:\n{self.text}"
                raise AssertionError(message)
            return text in self.text

        try:
            wait_until(shows_it, within)
        except AssertionError as error:
            message = f"{text!r} is not on the screen:\n{self.text}"
            raise AssertionError(message) from error

    def colour_of(self, text: str) -> str:
        """The colour of the first place where this can be read."""
        row = next(y for y, line in enumerate(self.lines) if text in line)
        with self._lock:
            return str(self._screen.buffer[row][self.lines_column(row, text)].fg)

    def lines_column(self, row: int, text: str) -> int:
        return str(self._screen.display[row]).index(text)

    @property
    def modes(self) -> list[Any]:
        """Whether the terminal echoes, reads lines, and so on."""
        return termios.tcgetattr(self.slave)

    @property
    def was_given_back(self) -> bool:
        """The other screen is left, the cursor is there, lines are read as before."""
        left = self.written.rfind(b"\x1b[?1049l") > self.written.rfind(b"\x1b[?1049h")
        shown = self.written.rfind(b"\x1b[?25h") > self.written.rfind(b"\x1b[?25l")
        return left and shown and self.modes == self.modes_before

    # -- what a person does

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        with self._lock:
            self._screen.resize(lines, columns)
            fcntl.ioctl(self.slave, termios.TIOCSWINSZ, size)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program, as a shell does."""
        group = os.tcgetpgrp(self.master)
        if group > 1:
            os.killpg(group, number)

    def wait_for_end(self, within: float = 10.0) -> int:
        """The exit code."""
        code = self.process.wait(within)
        wait_until(lambda: not select.select([self.master], [], [], 0)[0])
        return code

    # -- the wire

    def _environment(self) -> dict[str, str]:
        dropped = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
        kept = {name: v for name, v in os.environ.items() if name not in dropped}
        return kept | {"DJANGO_SETTINGS_MODULE": "tests.settings"} | self.environment

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            with self._lock:
                self.written += data
                self._stream.feed(data)
