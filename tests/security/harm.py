"""What an attacker would send or store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from picklefield.fields import PickledObject, dbsafe_encode


class Bomb:
    """Loading its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)

    @property
    def has_exploded(self) -> bool:
        return self.path.exists()

    def as_column(self) -> PickledObject:
        """As it is in the table; saving it as a value would copy, and so load, it."""
        return dbsafe_encode(self, pickle_protocol=-1, copy=False)
