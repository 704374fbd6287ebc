"""A module that tells which process imported it."""

from __future__ import annotations

import gc
import os
import sys

IMPORTED_BY = os.getpid()


def processes() -> tuple[int, int]:
    """Who imported this, and who runs the task."""
    return IMPORTED_BY, os.getpid()


def is_frozen(module: str) -> bool | None:
    """Whether the process that runs the task had it already when it was forked: what was there
    then, the collector does not know. None: it does not have it.
    """
    if module not in sys.modules:
        return None
    names = vars(sys.modules[module])
    return not any(found is names for found in gc.get_objects())
