"""A module that tells which process imported it."""

from __future__ import annotations

import os

IMPORTED_BY = os.getpid()


def processes() -> tuple[int, int]:
    """Who imported this, and who runs the task."""
    return IMPORTED_BY, os.getpid()
