"""The screen of the demo: steps, results, bars; plain where it is no terminal."""

from __future__ import annotations

import os
import re
import signal
import sys
from time import monotonic
from typing import TextIO

MARKS = "✓✕▶◷…↻█░·"
LABEL = 38
WIDTH = 80
CLEAR = "\r\x1b[K"
COLOUR = re.compile(r"\x1b\[\d*m")
COLOURS = {"ok": "32", "bad": "31", "busy": "36", "quiet": "2", "loud": "1"}


class Screen:
    """Writes lines, and below them one passing line that the next one replaces."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_terminal = self.stream.isatty()
        self.has_colours = (
            self.is_terminal
            and "NO_COLOR" not in os.environ
            and os.environ.get("TERM") != "dumb"
        )
        self.has_marks = self._can_write(MARKS)
        self._passing = ""

    def say(self, text: str = "") -> None:
        """A line that stays."""
        self._write((CLEAR if self._passing else "") + text + "\n")
        self._passing = ""

    def whisper(self, text: str) -> None:
        """A line that only a terminal shows, until something else is written."""
        if self.is_terminal and text != self._passing:
            self._passing = text
            self._write(CLEAR + self.paint("quiet", text))

    def paint(self, colour: str, text: str) -> str:
        if not self.has_colours:
            return text
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"

    def choose(self, mark: str, plain: str) -> str:
        """The mark, or the plain one where the encoding lacks it."""
        return mark if self.has_marks else plain

    def bar(self, done: int, total: int, width: int = 20) -> str:
        """A bar of that width, and the numbers."""
        full = width * done // max(total, 1)
        left = self.choose("█", "#") * full
        right = self.choose("░", "-") * (width - full)
        return f"{left}{right}  {done}/{total}"

    def _can_write(self, text: str) -> bool:
        try:
            text.encode(self.stream.encoding or "ascii")
        except UnicodeEncodeError:
            return False
        return True

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            # The terminal was closed, or nobody reads the pipe any more: time to end.
            # What is still said must not raise again, or nobody sees the children off.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
            signal.raise_signal(signal.SIGTERM)


class Step:
    """A numbered step: what it is, how it went, how long it took."""

    def __init__(self, screen: Screen, number: str, name: str) -> None:
        self.screen = screen
        self.title = f"  [{number}] {name:<14}"
        self.began = monotonic()
        self.tick()

    def tick(self) -> None:
        """Show that it is still being worked on."""
        waits = self.screen.choose("…", "...")
        self.screen.whisper(f"{self.title} {waits} {self.seconds:.0f} s")

    def done(self, words: str) -> None:
        self.screen.say(f"{self.title} {words:<47} {self.seconds:6.1f} s")

    @property
    def seconds(self) -> float:
        return monotonic() - self.began


def aligned(label: str, words: str, took: str = "") -> str:
    """One line of the report: what, what came of it, how long it took."""
    line = f"    {label:<{LABEL}} {words}"
    if not took:
        return line
    # Colours take no room on the screen.
    width = len(COLOUR.sub("", line))
    return line + " " * max(WIDTH - width - len(took), 2) + took
