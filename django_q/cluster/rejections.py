"""Rejections: the log lines of packages that are not ours; whoever sends them can send many."""

from __future__ import annotations

import hashlib
from typing import Final

from django_q.logs import clean, logger

NAMED: Final = 20
"""Packages in a minute that get a line each."""

MINUTE: Final = 60.0


class Rejections:
    """Says what was rejected, nothing of its content; above a rate only how many."""

    def __init__(self) -> None:
        self._since = 0.0
        self._count = 0

    def tell(self, package: str, reason: object, now: float) -> None:
        """One more was rejected."""
        if now - self._since >= MINUTE:
            self.sum_up()
            self._since = now
        self._count += 1
        if self._count <= NAMED:
            data = package.encode("utf-8", "replace")
            digest = hashlib.sha256(data).hexdigest()[:12]
            text = "rejected package (%s, %s bytes, sha256 %s…)"
            logger.warning(text, clean(reason), f"{len(data):,}", digest)

    def sum_up(self) -> None:
        """Say how many had no line of their own."""
        surplus, self._count = self._count - NAMED, 0
        if surplus > 0:
            logger.warning("rejected %s more packages", f"{surplus:,}")
