"""A task queue for Django: functions run in the background, or on a schedule."""

from __future__ import annotations

__version__ = "1.0.0.dev0"

VERSION = (1, 0, 0, "dev", 0)
"""The same as a tuple, for code that compares."""
