"""Names that a module had once, found where they are today."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def find(module: str, rooms: Mapping[str, str], name: str) -> Any:
    """What the name means, imported now. Raises AttributeError for one of no room."""
    if name not in rooms:
        message = f"module {module!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(rooms[name]), name)
