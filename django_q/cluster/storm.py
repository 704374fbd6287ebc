"""Storm: holds back restarts of a role that dies again and again."""

from __future__ import annotations

from collections import defaultdict, deque
from time import monotonic
from typing import Final

DEATHS: Final = 5
WITHIN: Final = 10.0
LONGEST_PAUSE: Final = 5.0


class Storm:
    """After five deaths of a kind within ten seconds, restarts come after pauses that
    double up to five seconds; a quiet while ends that.
    """

    def __init__(self) -> None:
        self._deaths: dict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=DEATHS)
        )
        self._pauses: dict[str, float] = {}
        self._until: dict[str, float] = {}

    def note_death(self, kind: str) -> None:
        now = monotonic()
        deaths = self._deaths[kind]
        if deaths and now - deaths[-1] > WITHIN:
            deaths.clear()
            self._pauses.pop(kind, None)
        deaths.append(now)
        many = len(deaths) == DEATHS and now - deaths[0] <= WITHIN
        if many or kind in self._pauses:
            pause = min(LONGEST_PAUSE, self._pauses.get(kind, 0.25) * 2)
            self._pauses[kind] = pause
            self._until[kind] = now + pause

    def permits(self, kind: str) -> bool:
        """Whether one of this kind may be started now."""
        return monotonic() >= self._until.get(kind, 0.0)
