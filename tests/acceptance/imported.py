"""A module that tells which process imported it."""

from __future__ import annotations

import os
import sys

IMPORTED_BY = os.getpid()


def processes() -> tuple[int, int]:
    """Who imported this, and who runs the task."""
    return IMPORTED_BY, os.getpid()


def is_loaded(module: str) -> bool:
    """Whether the process that runs the task has it."""
    return module in sys.modules
