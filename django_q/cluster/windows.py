"""How many packages a worker, and the cluster, should have in hand; pure.

Enough to keep workers busy for a fraction of a second at the length that tasks have of
late, and never so many that work waits behind a long task while others are idle.
"""

from __future__ import annotations

from typing import Final

WORK_AHEAD: Final = 0.25
"""Seconds of work that a worker may have waiting in its hand."""

LONG_TASK: Final = 0.02
"""Seconds from which a task counts as long: then one may wait behind it."""

FIRST_WINDOW: Final = 4
"""In hand while nothing is known of the tasks' length."""

LARGEST_WINDOW: Final = 2048

LONGEST_FETCH: Final = 500

WITH_STOCK: Final = 0.002
"""Seconds between two fetches while there is more here than workers have room for."""

LONGEST_REACH: Final = 2.0
"""Seconds of fetching that are made up for; longer ones are no rule."""


def window(pace: float, reach: float = 0.0) -> int:
    """Packages that may wait in a worker's hand when its runs take `pace` seconds, and
    fetching more takes `reach`: nobody should be idle meanwhile.
    """
    if not pace:
        return FIRST_WINDOW
    ahead = 0.0 if pace >= LONG_TASK else WORK_AHEAD
    ahead = max(ahead, min(reach, LONGEST_REACH))
    return max(1, min(LARGEST_WINDOW, int(ahead / pace)))


def fair_share(waiting: int, workers: int) -> int:
    """What each of so many workers gets when all that waits is dealt out."""
    return max(1, -(-waiting // max(1, workers)))


def how_many_to_fetch(
    room: int, whole: int, most: int | None, *, someone_idle: bool
) -> int:
    """How many packages to ask the broker for: what fits in, at `most` so many at once; 0
    unless one worker is idle, or much of the whole has gone.
    """
    if room <= 0 or not (someone_idle or room * 4 >= whole):
        return 0
    return min(room, most or LONGEST_FETCH)
