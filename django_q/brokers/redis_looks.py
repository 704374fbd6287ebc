"""Looks: what an idle cluster asks Redis again and again, in one command each.

The scripts that would act on it take a dozen, and mostly find nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django_q import clock
from django_q.brokers.redis_keys import beside

LEAVINGS: Final = ("deliveries", "places")
SELDOM: Final = 16
"""Looks for other clusters to one for leavings."""


class Looks:
    """Whether there is something to do about the queue with this list."""

    def __init__(self, ask: Callable[..., Any], ready: str) -> None:
        self._ask = ask
        self._ready = ready
        self._until_leavings = 0
        self._first_delayed: Any = []

    def finds_delayed(self) -> bool:
        """Whether another package than last time is the next that waits for its time."""
        before = self._first_delayed
        later = beside(self._ready, "later")
        self._first_delayed = self._ask("ZRANGE", later, 0, 0, "WITHSCORES")
        return bool(self._first_delayed) and self._first_delayed != before

    def finds_others(self, cluster: str) -> bool:
        """Whether other clusters are known; also whether there may be something left
        over: of packages that consumers of earlier releases took, or of slots.
        """
        known = self._ask("ZRANGE", beside(self._ready, "clusters"), 0, -1)
        if set(known) - {cluster.encode()}:
            return True
        self._until_leavings -= 1
        if self._until_leavings >= 0:
            return False
        has_leavings = self._finds_leavings()
        # They stay until a time has come at which something may be done about them.
        self._until_leavings = 0 if has_leavings else SELDOM - 1
        return has_leavings

    def _finds_leavings(self) -> bool:
        keys = [beside(self._ready, name) for name in LEAVINGS]
        if any(self._ask("HLEN", key) for key in keys):
            return True
        # By our clock: a script that finds nothing by that of Redis does no harm.
        moment = int(clock.now().timestamp() * 1000)
        return bool(self._ask("ZCOUNT", beside(self._ready, "sent"), "-inf", moment))
