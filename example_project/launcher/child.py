"""Child: a command that the demo has started, and its end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from launcher.stopping import GLANCE

PR_SET_PDEATHSIG = 1
HAS_GROUPS = hasattr(os, "killpg")
HAS_DEATH_SIGNAL = sys.platform == "linux"


class Child:
    """A process in a session of its own: Ctrl-C reaches the demo alone.

    What it says goes to the log; its output to the screen, when `shows` is set.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str],
        *,
        shows: bool = False,
    ) -> None:
        self.log = log
        self.asked = 0
        with log.open("ab") as words:
            self._start = words.tell()
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=None if shows else words,
                stderr=words,
                start_new_session=True,
                # Safe: the demo has no threads.
                preexec_fn=_die_with_parent if HAS_DEATH_SIGNAL else None,  # noqa: PLW1509
            )

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""
        return self.process.poll()

    def words(self) -> str:
        """What the log has got since the child started."""
        with self.log.open("rb") as file:
            file.seek(self._start)
            return file.read().decode("utf-8", "replace")

    def last_words(self) -> str:
        """The last line that says something: mostly the reason of an error."""
        lines = [line.strip() for line in self.words().splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"

    def ask_to_stop(self) -> None:
        if not self.has_ended:
            self.process.terminate()

    def hurry(self) -> None:
        """The second time it is asked in a hurry; the third time it has to end."""
        self.asked += 1
        if self.asked > 1:
            self.clear_group()
        self.ask_to_stop()

    def end(self, within: float = 5.0) -> None:
        """Ask it to stop and wait; then make sure that its group is empty."""
        self.ask_to_stop()
        deadline = monotonic() + within
        while not self.has_ended and monotonic() < deadline:
            sleep(GLANCE)
        self.clear_group()

    def clear_group(self) -> None:
        """End whatever is left of it."""
        if HAS_GROUPS:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        elif not self.has_ended:
            self.process.kill()
        self.process.wait()


def _die_with_parent() -> None:
    """Have the kernel end the child when the demo is killed without a word."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
