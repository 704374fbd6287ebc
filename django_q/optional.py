"""Packages that a project may have or not."""

from __future__ import annotations

import importlib
from typing import Any


def find_optional(module: str, name: str = "") -> Any:
    """A module, or something in it; None where its package is missing."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        return None
    return getattr(found, name) if name else found
