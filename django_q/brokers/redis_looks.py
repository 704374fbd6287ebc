"""Looks: what an idle cluster asks Redis again and again, in one command each.

The scripts that would act on it take a dozen, and mostly find nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django_q.brokers.redis_keys import beside

LEAVINGS: Final = ("deliveries", "places")
SELDOM: Final = 16
"""Looks for other clusters to one for leavings."""


class Looks:
    """Whether there is something to do about the queue with this list."""

    def __init__(self, ask: Callable[..., Any], ready: str) -> None:
        self._ask = ask
        self._ready = ready
        self._times = 0

    def finds_delayed(self) -> bool:
        """Whether a package waits for its time."""
        return bool(self._ask("ZCARD", beside(self._ready, "later")))

    def finds_others(self, cluster: str) -> bool:
        """Whether other clusters are known; also whether there may be something left
        over, of packages that consumers of earlier releases took.
        """
        known = self._ask("ZRANGE", beside(self._ready, "clusters"), 0, -1)
        self._times += 1
        if set(known) - {cluster.encode()}:
            return True
        return self._times % SELDOM == 1 and self._finds_leavings()

    def _finds_leavings(self) -> bool:
        keys = [beside(self._ready, name) for name in LEAVINGS]
        return any(self._ask("HLEN", key) for key in keys)
