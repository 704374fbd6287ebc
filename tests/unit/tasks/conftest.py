"""The queue in memory."""

from __future__ import annotations

from tests.draining import drain, memory

__all__ = ["drain", "memory"]
