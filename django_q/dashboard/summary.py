"""Totals and rates: the summary that qinfo prints, as text and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from django.utils.translation import gettext as _

from django_q import __version__
from django_q.brokers import Broker
from django_q.clock import localtime
from django_q.conf import Conf
from django_q.dashboard.snapshot import QueueFigures, Snapshot, take_snapshot
from django_q.dashboard.wording import (
    DAY,
    HOUR,
    MINUTE,
    columns,
    duration,
    fit,
    moment,
    number,
)
from django_q.logs import clean
from django_q.status import Stat

__all__ = ["Alert", "as_json", "describe", "find_alerts", "get_ids", "info"]

SCHEMA: Final = 1
"""Changes only when a key of the JSON object changes its meaning or goes away."""


class Writable(Protocol):
    """Where text can be printed."""

    def write(self, text: str, /) -> object: ...


class Alert(NamedTuple):
    """Something that a person should look at."""

    id: str
    queue: str | None
    text: str


def info(broker: Broker | None = None, *, stream: Writable | None = None) -> bool:
    """Print the summary. Always True; raises where the broker can't be reached."""
    snapshot = take_snapshot(broker)
    for line in describe(snapshot):
        (stream or sys.stdout).write(line + "\n")
    return True


def get_ids(broker: Broker | None = None, *, stream: Writable | None = None) -> bool:
    """Print the id of each running cluster. Always True."""
    ids = [str(stat.cluster_id) for stat in Stat.get_all(broker)]
    for line in ids or [_("No clusters appear to be running.")]:
        (stream or sys.stdout).write(line + "\n")
    return True


def find_alerts(snapshot: Snapshot) -> list[Alert]:
    """What is wrong at this moment, worst first."""
    silent = [Alert("no_broker", c.queues[0], c.complaint) for c in snapshot.silent]
    return silent + [
        Alert("no_cluster", queue.name, _unserved(queue)) for queue in snapshot.unserved
    ]


def describe(snapshot: Snapshot) -> Iterator[str]:
    """The summary as lines of text."""
    name, broker = clean(snapshot.name), clean(snapshot.broker)
    facts = {"name": name.capitalize(), "version": __version__, "broker": broker}
    yield _("-- %(name)s %(version)s on %(broker)s --") % facts
    yield ""
    yield from map(_line, _cells(snapshot))
    yield ""
    yield from _queue_table(snapshot)
    if snapshot.outbox:
        yield ""
        figures = {"tasks": snapshot.outbox, "refused": snapshot.refused}
        yield _("In the outbox: %(tasks)s, refused: %(refused)s") % figures
    alerts = find_alerts(snapshot)
    if alerts:
        yield ""
    for alert in alerts:
        yield f"! {alert.text}"


def as_json(snapshot: Snapshot) -> str:
    """The summary as one JSON object; seconds and counts; null: not measured yet."""
    tree = {
        "schema": SCHEMA,
        "at": localtime(snapshot.at).isoformat(timespec="seconds"),
        "name": snapshot.name,
        "version": __version__,
        "broker": {
            "kind": snapshot.broker_kind,
            "info": snapshot.broker,
            "reachable": snapshot.latency is not None,
            "latency_s": _rounded(snapshot.latency),
        },
        "totals": _totals(snapshot),
        "queues": [_queue(queue) for queue in snapshot.queues],
        "clusters": [_cluster(stat) for stat in snapshot.clusters],
        "alerts": [alert._asdict() for alert in find_alerts(snapshot)],
    }
    return json.dumps(tree, ensure_ascii=True)


def _cells(snapshot: Snapshot) -> Iterator[tuple[tuple[str, str], ...]]:
    """Three captions and figures for each line of the summary."""
    tasks = snapshot.tasks
    average = tasks.average.total_seconds() if tasks.average else None
    rate = _("%(tasks)s/min") % {"tasks": number(tasks.last_minute)}
    yield (
        (_("Clusters"), number(len(snapshot.clusters))),
        (_("Workers"), number(snapshot.workers)),
        (_("Restarts"), number(snapshot.restarts)),
    )
    yield (
        (_("Queued"), number(snapshot.waiting)),
        (_("Successes"), number(tasks.successes)),
        (_("Failures"), number(tasks.failures)),
    )
    yield (
        (_("Schedules"), number(snapshot.schedules)),
        _pace(tasks.succeeded_24h),
        (_("Avg time"), duration(average)),
    )
    yield (
        (_("Running"), number(snapshot.running)),
        (_("Locked"), number(snapshot.locked)),
        (_("Next run"), moment(snapshot.next_run)),
    )
    yield (
        (_("Succeeded 24h"), number(tasks.succeeded_24h)),
        (_("Failed 24h"), number(tasks.failed_24h)),
        (_("Throughput"), rate),
    )


def _pace(succeeded: int) -> tuple[str, str]:
    """The successes of a day, for the shortest unit that sees more than one of them."""
    units = (
        (_("Tasks/second"), DAY),
        (_("Tasks/minute"), DAY // MINUTE),
        (_("Tasks/hour"), DAY // HOUR),
    )
    for caption, parts in units:
        if succeeded > parts:
            return caption, number(succeeded / parts, 2)
    return _("Tasks/day"), number(succeeded)


def _line(cells: tuple[tuple[str, str], ...]) -> str:
    pairs = [
        fit(caption, 14) + fit(figure, max(9, columns(figure)), right=True)
        for caption, figure in cells
    ]
    return "  " + "   ".join(pairs)


def _queue_table(snapshot: Snapshot) -> Iterator[str]:
    names = [queue.name for queue in snapshot.queues]
    width = min(max(14, *(len(name) for name in names)), 40)
    captions = (_("CLUSTERS"), _("WAITING"), _("LOCKED"))
    yield _row(_("QUEUE"), captions, width)
    for queue in snapshot.queues:
        figures = (len(queue.clusters), queue.waiting, queue.locked)
        notes = [_("no cluster")] if queue in snapshot.unserved else []
        if queue.waiting is not None and queue.broker not in ("", snapshot.broker):
            notes.append(_("on %(broker)s") % {"broker": clean(queue.broker)})
        row = _row(queue.name, tuple(map(number, figures)), width)
        yield "  ".join([row, *notes])


def _row(name: str, cells: tuple[str, ...], width: int) -> str:
    shown = (fit(cell, max(9, columns(cell)), right=True) for cell in cells)
    return fit(name, width) + " " + " ".join(shown)


def _unserved(queue: QueueFigures) -> str:
    message = _("%(queue)s has no cluster. Start one: python manage.py qcluster")
    # The name is last in each language, and a cluster of the base needs none.
    name = "" if queue.name == Conf.of_cluster("").queue else f" --name {queue.name}"
    return message % {"queue": clean(queue.name)} + clean(name)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _totals(snapshot: Snapshot) -> dict[str, Any]:
    tasks, next_run = snapshot.tasks, snapshot.next_run
    average = tasks.average.total_seconds() if tasks.average else None
    return {
        "waiting": snapshot.waiting,
        "running": snapshot.running,
        "locked": snapshot.locked,
        "delayed": None,
        "retrying": None,
        "successes": tasks.successes,
        "failures": tasks.failures,
        "succeeded_24h": tasks.succeeded_24h,
        "failed_24h": tasks.failed_24h,
        "throughput_per_min": tasks.last_minute,
        "wait_p95_s": None,
        "run_avg_s": None,
        "time_avg_s": average,
        "schedules": snapshot.schedules,
        "next_run": localtime(next_run).isoformat() if next_run else None,
        "outbox": snapshot.outbox,
        "outbox_refused": snapshot.refused,
    }


def _queue(queue: QueueFigures) -> dict[str, Any]:
    return {
        "name": queue.name,
        "broker": queue.broker,
        "paused": None,
        "waiting": queue.waiting,
        "locked": queue.locked,
        "oldest_wait_s": None,
        "in_per_min": None,
        "out_per_min": None,
        "clusters": [stat.title for stat in queue.clusters],
    }


def _cluster(stat: Stat) -> dict[str, Any]:
    return {
        "id": stat.title,
        "uuid": str(stat.cluster_id),
        "host": stat.host,
        "pid": stat.pid,
        "state": stat.state,
        "workers": len(stat.workers),
        "busy": stat.busy,
        "started": localtime(stat.tob).isoformat() if stat.tob else None,
        "seen": localtime(stat.timestamp).isoformat(),
        "rss_bytes": None,
        "cpu_percent": None,
        "restarts": stat.reincarnations,
        "queues": [stat.queue] if stat.queue else [],
        "version": stat.version,
        "code": None,
    }
