"""A broker of a project's own, for clusters that are started for a test."""

from __future__ import annotations

from django_q.brokers.orm import ORM
from django_q.conf import get_options


class Prefixed(ORM):
    """Calls its queue otherwise than the cluster is called."""

    def __init__(self, list_key: str | None = None) -> None:
        name = list_key or get_options().queue
        super().__init__(name if name.startswith("own:") else f"own:{name}")
