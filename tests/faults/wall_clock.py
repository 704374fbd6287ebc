"""WallClock: the clock of a machine that only some processes are on."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

COMPILER: Final = "cc"
SOURCE: Final = Path(__file__).with_suffix(".c")


class WallClock:
    """Set it, and all processes with its environment see another time from then on.

    Time that only passes, `monotonic`, is not touched; so it is when somebody sets the
    clock of a machine.
    """

    def __init__(self, folder: Path) -> None:
        self._library = folder / "wall_clock.so"
        self._offset = folder / "wall_clock"
        self._offset.write_bytes(struct.pack("d", 0.0))
        command = [COMPILER, "-shared", "-fPIC", "-O1"]
        command += [str(SOURCE), "-o", str(self._library), "-ldl", "-lm"]
        subprocess.run(command, check=True)

    @property
    def environment(self) -> dict[str, str]:
        """Of processes that are on it."""
        before = os.environ.get("LD_PRELOAD")
        preloaded = [str(self._library), *([before] if before else [])]
        return {"LD_PRELOAD": ":".join(preloaded), "WALL_CLOCK": str(self._offset)}

    def set(self, ahead: float) -> None:
        """So many seconds ahead of the time that it really is."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("d", ahead))


def has_compiler() -> bool:
    return shutil.which(COMPILER) is not None
