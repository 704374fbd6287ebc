"""Priorities: which of them there are."""

from __future__ import annotations

from typing import Final

HIGHEST_PRIORITY: Final = 100
"""The lowest is as far below 0."""


def bounded(priority: int) -> int:
    """What lies beyond the bounds counts as they do."""
    return max(-HIGHEST_PRIORITY, min(HIGHEST_PRIORITY, int(priority)))
