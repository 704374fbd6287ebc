"""A broker of a project's own, for clusters that are started for a test."""

from __future__ import annotations

from collections.abc import Sequence

from django_q.brokers.orm import ORM
from django_q.conf import get_options


class Prefixed(ORM):
    """Calls its queue otherwise than the cluster is called."""

    def __init__(self, list_key: str | None = None) -> None:
        name = list_key or get_options().queue
        super().__init__(name if name.startswith("own:") else f"own:{name}")


class Poisoned(ORM):
    """Takes nothing back, for no reason that would pass."""

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        if failed:
            raise ValueError("poison")
        return super().release(receipts, delay=delay, failed=failed)
