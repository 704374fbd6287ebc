"""A snapshot as the sheet that qmonitor shows: its columns and its legend."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

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
from django_q.dashboard.snapshot import Snapshot
from django_q.dashboard.summary import find_alerts
from django_q.dashboard.wording import clock, cut, number
from django_q.logs import clean
from django_q.status import Stat

ALERTS_SHOWN: Final = 3
LEGEND_FROM: Final = 20
"""Height of a terminal from which on the legend is shown."""

STATE_ROLES: Final = {
    "starting": "warn",
    "working": "info",
    "stopping": "warn",
    "stopped": "bad",
}


def show_pool(stat: Stat) -> str:
    """Busy and all workers; only all where the cluster does not tell."""
    if stat.busy is None:
        return str(len(stat.workers))
    return f"{stat.busy}/{len(stat.workers)}"


def is_full(stat: Stat) -> bool:
    """Whether the cluster holds as many tasks as it may."""
    return 0 < (stat.task_q_limit or 0) <= stat.task_q_size


def _state_role(stat: Stat) -> str:
    return STATE_ROLES.get(stat.state, "")


CLUSTERS: Final = Table[Stat](
    lambda stat: stat.host,
    (
        Column("Id", 8, lambda stat: str(stat.cluster_id)[-8:], right=False),
        Column(
            gettext_lazy("State"),
            9,
            lambda stat: str(stat.status),
            _state_role,
            right=False,
        ),
        Column(gettext_lazy("Pool"), 7, show_pool),
        Column(
            "TQ",
            6,
            lambda stat: number(stat.task_q_size),
            lambda stat: "ok" if is_full(stat) else "",
        ),
        Column("RQ", 5, lambda stat: number(stat.done_q_size)),
        Column(
            "RC",
            5,
            lambda stat: number(stat.reincarnations),
            lambda stat: "warn" if stat.reincarnations else "",
        ),
        Column(gettext_lazy("Up"), 10, lambda stat: clock(stat.uptime())),
        Column(gettext_lazy("Queue"), 16, lambda stat: stat.queue or "", right=False),
    ),
)


def lay_out(snapshot: Snapshot, size: Size) -> Sheet:
    """Everything that there is to see, for a screen of this size."""
    width = size.width
    return Sheet(
        top=[
            header(snapshot.name, snapshot.at, width),
            _strip(snapshot),
            *_alerts(snapshot, width),
            rule(width),
            CLUSTERS.captions(width),
        ],
        rows=[CLUSTERS.row(stat, width) for stat in snapshot.clusters] or nobody(),
        bottom=[rule(width), _footer(snapshot), *_legend(size)],
    )


def _strip(snapshot: Snapshot) -> Line:
    tasks = snapshot.tasks
    running = number(snapshot.running)
    failed = Span(number(tasks.failed_24h), "bad" if tasks.failed_24h else "")
    return [
        Span(" " + _("Waiting") + " "),
        Span(number(snapshot.waiting), "title"),
        Span("   " + _("Running") + " "),
        Span(f"{running}/{number(snapshot.workers)}", "title"),
        Span("   " + _("Done/min") + " "),
        Span(number(tasks.last_minute), "title"),
        Span("   " + _("Failed 24h") + " "),
        failed,
        Span(_share(tasks.failed_24h, tasks.succeeded_24h)),
    ]


def _share(failed: int, succeeded: int) -> str:
    if not failed:
        return ""
    return f" ({100 * failed / (failed + succeeded):.1f} %)"


def _alerts(snapshot: Snapshot, width: int) -> list[Line]:
    alerts = find_alerts(snapshot)[:ALERTS_SHOWN]
    return [[Span(cut(f" ▲ {alert.text}", width), "warn")] for alert in alerts]


def _footer(snapshot: Snapshot) -> Line:
    tasks = snapshot.tasks
    locked = f"({number(snapshot.locked)})" if snapshot.locked else ""
    return [
        Span(f" {clean(snapshot.broker)}", "title"),
        Span("   " + _("Queued") + f" {number(snapshot.waiting)}{locked}"),
        Span("   " + _("Success") + f" {number(tasks.successes)}", "ok"),
        Span("   " + _("Failures") + " "),
        Span(number(tasks.failures), "bad" if tasks.failures else ""),
    ]


def _legend(size: Size) -> list[Line]:
    if size.height is not None and size.height < LEGEND_FROM:
        return []
    return quiet(
        _("Pool busy/all workers   TQ tasks fetched, not started (green: its limit)"),
        _("RQ results not yet saved   RC processes restarted   Up hours:min:s"),
    )
