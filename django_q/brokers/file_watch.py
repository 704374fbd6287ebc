"""File watch: Linux tells that files were written to, and nobody looks at them."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from typing import Final

IN_MODIFY: Final = 0x2
ROOM: Final = 64 * 1024
"""Bytes of events that are read at once; equal ones in a row are one."""


class FileWatch:
    """Becomes readable when somebody on this host writes to one of some files.

    Raises OSError where the system, the file system or its limits do not allow that.
    """

    def __init__(self, files: Iterable[str]) -> None:
        if sys.platform != "linux":
            raise OSError
        libc = ctypes.CDLL(None)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for file in files:
            name = os.fsencode(file)
            if libc.inotify_add_watch(self._descriptor, name, IN_MODIFY) < 0:
                self.close()
                raise OSError

    def fileno(self) -> int:
        return int(self._descriptor)

    def has_rung(self) -> bool:
        """Whether somebody has written since the last call."""
        try:
            return bool(os.read(self._descriptor, ROOM))
        except BlockingIOError:
            return False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
