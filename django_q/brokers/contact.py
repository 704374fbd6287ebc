"""Contact: who has reached a broker without a gap, and so may judge the leases of others."""

from __future__ import annotations

from time import monotonic, time_ns
from typing import Final

LONGEST_GAP: Final = 2 / 3
"""Part of a lease. A longer silence between us and the broker may have cost others
their leases; a shorter one can't: they renew them after a third.
"""


class Contact:
    """How long this process has been reaching the broker."""

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self._since: float | None = None
        self._last = self._last_shown = 0.0

    def note(self) -> None:
        """The broker has answered.

        Time in which only the clock of this machine has gone on counts as well: where
        leases go by that, somebody who set it may have ended them.
        """
        # Not by clock.now(): each exchange comes by here, and that asks the settings.
        now, shown = monotonic(), time_ns() / 1e9
        silence = max(now - self._last, shown - self._last_shown)
        if self._since is None or silence > self.lease * LONGEST_GAP:
            self._since = now
        self._last, self._last_shown = now, shown

    def lose(self) -> None:
        """The broker can't be reached."""
        self._since = None

    @property
    def is_steady(self) -> bool:
        """Whether others could have renewed their leases just as well."""
        return self._since is not None and monotonic() - self._since >= self.lease
