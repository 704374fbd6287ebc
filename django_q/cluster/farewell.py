"""Farewell: the stop, in four words: quiet, drain, record, leave."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from time import monotonic
from typing import Any, Final

from django_q.cluster.children import Child
from django_q.cluster.frames import Kind, control
from django_q.cluster.pool import Pool
from django_q.logs import logger

CUT_GRACE: Final = 5.0
"""Seconds that running tasks still get after a second signal."""

RECORD_GRACE: Final = 30.0
"""Seconds that there are, when the last worker has left, to record how killed tasks
ended; and again for the monitor, to save what came."""

LEAVE_GRACE: Final = 5.0
STEP: Final = 0.05


class Farewell:
    """Leads the stop. Quiet: nothing is fetched, and what was not begun goes back.
    Drain: what runs may end, until the grace is over; how it ended that ran past its own
    limit, a clerk says. Record: the monitor saves what came. Leave: the others go.

    A cluster that never had a task leaves at once, without those who are not there yet.
    """

    def __init__(self, grace: float | None) -> None:
        self._grace = inf if grace is None else grace
        self._until = inf
        self._phase = ""
        self._phase_until = inf
        self.interrupted = 0

    @property
    def has_begun(self) -> bool:
        return bool(self._phase)

    @property
    def rest(self) -> float:
        return STEP if self.has_begun else inf

    def begin(self, *, cut: bool, has_worked: bool = True) -> None:
        """Stop; `cut`: for the second time, so with little grace left."""
        now = monotonic()
        if not self.has_begun:
            self._phase = "quiet" if has_worked else "turn away"
            self._until = now + self._grace
        if cut:
            self._until = min(self._until, now + CUT_GRACE)

    def needs(self, kind: str) -> bool:
        """Whether a role that died must be replaced even now."""
        return self._phase in ("quiet", "drain") and kind != "housekeeper"

    def expects(self, kind: str) -> bool:
        """Whether a role leaves because it was told to."""
        leaving = {
            "record": ("monitor",),
            "leave": ("monitor", "pusher", "housekeeper", "worker"),
        }
        return kind in leaving.get(self._phase, ())

    def advance(
        self, singles: Mapping[str, Child], pool: Pool, last_signs: dict[str, Any]
    ) -> bool:
        """Take the next step if it is time; True when everybody has left."""
        if self._phase == "quiet":
            tell_all([*singles.values(), *pool.workers], Kind.STOP, spare="monitor")
            self._phase, self._phase_until = "drain", monotonic() + RECORD_GRACE
        elif self._phase == "drain":
            self._drain(singles, pool)
        elif self._phase == "record":
            self._record(singles, last_signs)
        elif self._phase == "turn away":
            self._turn_away(singles, pool, last_signs)
        return self._phase == "leave" and self._leave(singles, pool)

    def _drain(self, singles: Mapping[str, Child], pool: Pool) -> None:
        now = monotonic()
        if now >= self._until:
            self.interrupted += pool.condemn_all()
            # Then a clerk that was told to leave must have done so.
            self._until = now + RECORD_GRACE
        if pool.others:
            self._phase_until = now + RECORD_GRACE
        elif pool.workers and pool.is_settled:
            pool.clerk = None
            tell_all(pool.workers, Kind.STOP)
        elif pool.is_settled or now >= self._phase_until:
            for clerk in pool.workers:
                clerk.kill()
            tell_all(singles.values(), Kind.STOP, only="monitor")
            self._phase, self._phase_until = "record", now + RECORD_GRACE

    def _record(self, singles: Mapping[str, Child], last_signs: dict[str, Any]) -> None:
        monitor = singles.get("monitor")
        if monitor is not None and monotonic() < self._phase_until:
            return
        if monitor is not None:
            logger.error("the monitor did not end in time; unsaved tasks run again")
            monitor.kill()
        tell_all(singles.values(), Kind.RETIRE, only="pusher")
        tell_all(singles.values(), Kind.VITALS, only="housekeeper", **last_signs)
        self._phase, self._phase_until = "leave", monotonic() + LEAVE_GRACE

    def _turn_away(
        self, singles: Mapping[str, Child], pool: Pool, last_signs: dict[str, Any]
    ) -> None:
        children = [*singles.values(), *pool.workers]
        for child in children:
            if not child.is_ready:
                child.kill()
        tell_all(children, Kind.STOP)
        tell_all(children, Kind.VITALS, only="housekeeper", **last_signs)
        self._phase, self._phase_until = "leave", monotonic() + LEAVE_GRACE

    def _leave(self, singles: Mapping[str, Child], pool: Pool) -> bool:
        children = [*singles.values(), *pool.workers]
        if monotonic() >= self._phase_until:
            for child in children:
                child.kill()
        return not children


def tell_all(
    children: Any, kind: Kind, only: str = "", spare: str = "", **facts: Any
) -> None:
    """Send a frame to some of the children."""
    for child in children:
        if (not only or child.kind == only) and child.kind != spare:
            child.line.send(control(kind, **facts))
