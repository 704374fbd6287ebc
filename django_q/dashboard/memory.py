"""qmemory: how much memory the processes of each cluster on this host take."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_q.brokers import Broker
from django_q.clock import now
from django_q.conf import get_options, psutil
from django_q.dashboard.carriers import carriers, running_clusters
from django_q.dashboard.sheet import (
    Column,
    Line,
    Sheet,
    Size,
    Span,
    Table,
    header,
    nobody,
    quiet,
    rule,
)
from django_q.dashboard.terminal import Output, Programme, show
from django_q.dashboard.wording import cut, fit, number
from django_q.logs import clean
from django_q.status import Stat

__all__ = ["get_process_mb", "memory"]

MB: Final = 1024 * 1024

LITTLE: Final = 10
"""Per cent of a host's memory: less than that is worth a warning."""

CELL: Final = 13
"""Columns that one worker takes."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Resident memory of one cluster, in MB; None is what can't be read from here."""

    stat: Stat
    available: float | None
    total: float | None
    sentinel: float | None
    monitor: float | None
    workers: tuple[float | None, ...]

    @property
    def share(self) -> float | None:
        """Per cent of the host's memory that are available."""
        if self.available is None or not self.total:
            return None
        return 100 * self.available / self.total

    @property
    def worker_sum(self) -> float | None:
        known = [mb for mb in self.workers if mb is not None]
        return sum(known) if known else None


@dataclass(frozen=True, kw_only=True)
class MemorySnapshot:
    """The memory of all clusters at one moment."""

    at: datetime
    name: str
    broker: str
    footprints: tuple[Footprint, ...]
    complaints: tuple[str, ...] = ()
    """Of brokers of this site that do not answer, a line each."""

    @property
    def clusters(self) -> tuple[Stat, ...]:
        return tuple(footprint.stat for footprint in self.footprints)


def memory(
    run_once: bool = False,
    workers: bool = False,
    broker: Broker | None = None,
    *,
    stream: Output | None = None,
    colour: bool = True,
) -> list[Stat] | None:
    """Show the memory of the clusters until the reader leaves; `workers`: of each.

    With `run_once`, or where the output is not a terminal, print one plain snapshot
    and give its clusters. Without psutil, say so and show nothing.
    """
    if psutil is None:
        note = _("%(command)s needs the package 'psutil'.") % {"command": "qmemory"}
        sys.stderr.write(note + "\nRun: python -m pip install psutil\n")
        return None
    programme = Programme("qmemory", take_memory, partial(lay_out, workers=workers))
    return show(programme, broker, run_once=run_once, stream=stream, colour=colour)


def get_process_mb(pid: int) -> float | None:
    """Resident memory of a process of this host; None if there is no such process."""
    if psutil is None or pid <= 0:
        return None
    try:
        return float(round(psutil.Process(pid).memory_info().rss / MB, 2))
    except psutil.Error:
        return None


def take_memory(broker: Broker | None = None) -> MemorySnapshot:
    """Measure now. Raises one of NO_ANSWER where nothing can be known."""
    with carriers(broker) as asked:
        clusters = running_clusters(broker)
    return MemorySnapshot(
        at=now(),
        name=get_options().name,
        broker=asked[0].info,
        complaints=tuple(each.complaint for each in asked if each.error is not None),
        footprints=tuple(map(measure, clusters)),
    )


def measure(stat: Stat) -> Footprint:
    """The memory of a cluster; of one on another host, only that it is there."""
    if stat.host != socket.gethostname():
        nothing = dict.fromkeys(("available", "total", "sentinel", "monitor"))
        return Footprint(stat=stat, workers=(None,) * len(stat.workers), **nothing)
    machine = psutil.virtual_memory()
    return Footprint(
        stat=stat,
        available=machine.available / MB,
        total=machine.total / MB,
        sentinel=get_process_mb(stat.sentinel),
        monitor=get_process_mb(stat.monitor),
        workers=tuple(map(get_process_mb, stat.workers)),
    )


def megabytes(value: float | None) -> str:
    return number(value, 1)


def _share_role(row: Footprint) -> str:
    return "warn" if row.share is not None and row.share < LITTLE else ""


# All of it fits into 80 columns, with eight for the host.
FOOTPRINTS: Final = Table[Footprint](
    lambda row: row.stat.host,
    (
        Column("Id", 8, lambda row: str(row.stat.cluster_id)[-8:], right=False),
        Column(
            gettext_lazy("Available %"),
            11,
            lambda row: megabytes(row.share),
            _share_role,
        ),
        Column(gettext_lazy("Available MB"), 12, lambda row: megabytes(row.available)),
        Column(gettext_lazy("Total MB"), 8, lambda row: number(row.total, 0)),
        Column(gettext_lazy("Sentinel"), 8, lambda row: megabytes(row.sentinel)),
        Column(gettext_lazy("Monitor"), 7, lambda row: megabytes(row.monitor)),
        Column(gettext_lazy("Workers MB"), 10, lambda row: megabytes(row.worker_sum)),
    ),
    gap=1,
)


def lay_out(snapshot: MemorySnapshot, size: Size, *, workers: bool = False) -> Sheet:
    """Everything that there is to see, for a screen of this size."""
    width = size.width
    rows: list[Line] = []
    for footprint in snapshot.footprints:
        rows.append(FOOTPRINTS.row(footprint, width))
        rows.extend(_workers(footprint, width) if workers else ())
    return Sheet(
        top=[
            header(snapshot.name, snapshot.at, width),
            *([Span(cut(f" ▲ {text}", width), "warn")] for text in snapshot.complaints),
            rule(width),
            FOOTPRINTS.captions(width),
        ],
        rows=rows or nobody(),
        bottom=[rule(width), _footer(snapshot), *_legend()],
    )


def _workers(footprint: Footprint, width: int) -> Iterator[Line]:
    """A column for each worker, below its cluster: W1 41.2, as many as there is room."""
    cells = [
        Span(f"  W{n:<3}" + fit(megabytes(mb), CELL - 6, right=True), "quiet")
        for n, mb in enumerate(footprint.workers, 1)
    ]
    in_a_line = max((width - 2) // CELL, 1)
    for first in range(0, len(cells), in_a_line):
        yield cells[first : first + in_a_line]


def _footer(snapshot: MemorySnapshot) -> Line:
    return [Span(f" {clean(snapshot.broker)}", "title")]


def _legend() -> list[Line]:
    return quiet(
        _("Resident memory in MB; what processes share is counted in each of them"),
        _("- of a cluster on another host, or of a process that has just ended"),
    )
