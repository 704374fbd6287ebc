"""A snapshot as the lines of a screen: the columns and the legend of qmonitor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_q import __version__
from django_q.clock import localtime
from django_q.dashboard.snapshot import Snapshot
from django_q.dashboard.summary import find_alerts
from django_q.dashboard.wording import clock, columns, cut, fit, number
from django_q.logs import clean
from django_q.status import Stat

ALERTS_SHOWN: Final = 3
HOST_AT_LEAST: Final = 8
LEGEND_FROM: Final = 20
"""Height of a terminal from which on the legend is shown."""

STATE_ROLES: Final = {
    "starting": "warn",
    "working": "info",
    "stopping": "warn",
    "stopped": "bad",
}

ASCII: Final = str.maketrans(
    {"─": "-", "…": ".", "▲": "!", "✕": "x", "↑": "^", "↓": "v"}
)
"""What stands for our marks on a terminal that can't show them."""


class Span(NamedTuple):
    """A piece of a line; the role chooses its colour."""

    text: str
    role: str = ""


Line = Sequence[Span]


class Column(NamedTuple):
    """A column of the table of clusters."""

    caption: object
    width: int
    show: Callable[[Stat], str]
    role: Callable[[Stat], str] = lambda _stat: ""
    right: bool = True

    def head(self) -> Span:
        return Span(fit(self.caption, self.width, right=self.right), "head")

    def cell(self, stat: Stat) -> Span:
        shown = fit(self.show(stat), self.width, right=self.right)
        return Span(shown, self.role(stat))


class Size(NamedTuple):
    """Columns and lines of a terminal; height None: as many lines as it takes."""

    width: int
    height: int | None = None


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


COLUMNS: Final = (
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
)


def lay_out(snapshot: Snapshot, size: Size, *, first: int = 0) -> list[Line]:
    """All lines of a screen, none wider than it, from cluster number `first` on."""
    top, bottom = _top(snapshot, size.width), _bottom(snapshot, size)
    rows = [_row(stat, size.width) for stat in snapshot.clusters] or _nobody()
    if size.height is None:
        return clip([*top, *rows, *bottom], size.width)
    room = room_for_clusters(snapshot, size)
    shown = rows[first : first + room]
    empty: list[Line] = [[]] * (room - len(shown))
    keys = _keys(first, len(shown), len(snapshot.clusters))
    lines = [*top, *shown, *empty, *bottom, keys]
    return clip(lines[: size.height], size.width)


def room_for_clusters(snapshot: Snapshot, size: Size) -> int:
    """How many clusters a screen shows at once."""
    around = len(_top(snapshot, size.width)) + len(_bottom(snapshot, size)) + 1
    return max((size.height or 0) - around, 0)


def clip(lines: Sequence[Line], width: int) -> list[Line]:
    """The lines, cut so that none is wider than the screen: nothing ever wraps."""
    return [_clip(line, width) for line in lines]


def text_of(line: Line) -> str:
    """The line without its colours."""
    return "".join(span.text for span in line).rstrip()


def encodable(text: str, encoding: str) -> str:
    """The text, with our marks replaced where the encoding lacks them."""
    if encoding.lower().replace("-", "").startswith("utf"):
        return text
    plain = text.translate(ASCII)
    return plain.encode(encoding, errors="replace").decode(encoding)


def _top(snapshot: Snapshot, width: int) -> list[Line]:
    """Everything above the clusters."""
    header = [*_header(snapshot, width), *_alerts(snapshot, width)]
    return [*header, _rule(width), _captions(width)]


def _bottom(snapshot: Snapshot, size: Size) -> list[Line]:
    """Everything below the clusters but the line of keys."""
    has_room = size.height is None or size.height >= LEGEND_FROM
    return [_rule(size.width), _footer(snapshot), *(_legend() if has_room else [])]


def _header(snapshot: Snapshot, width: int) -> Iterator[Line]:
    title, name = f" django-q {__version__}", f"   {clean(snapshot.name)}"
    time = localtime(snapshot.at).strftime("%H:%M:%S ")
    gap = width - columns(title) - columns(name) - columns(time)
    yield [Span(title, "title"), Span(name), Span(" " * gap), Span(time, "quiet")]
    yield _strip(snapshot)


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


def _rule(width: int) -> Line:
    return [Span("─" * width, "quiet")]


def _columns_for(width: int) -> list[Column]:
    """The host takes what is left; columns that have no room go, from the right."""
    chosen = list(COLUMNS)
    while chosen and _host_width(chosen, width) < HOST_AT_LEAST:
        chosen.pop()
    host = Column(
        gettext_lazy("Host"),
        max(_host_width(chosen, width), 1),
        lambda stat: stat.host,
        right=False,
    )
    return [host, *chosen]


def _host_width(others: Sequence[Column], width: int) -> int:
    return width - 2 - sum(column.width + 2 for column in others)


def _captions(width: int) -> Line:
    return _spaced(column.head() for column in _columns_for(width))


def _row(stat: Stat, width: int) -> Line:
    return _spaced(column.cell(stat) for column in _columns_for(width))


def _spaced(cells: Iterator[Span]) -> Line:
    spans = [Span(" ")]
    for cell in cells:
        spans += [cell, Span("  ")]
    return spans[:-1]


def _nobody() -> list[Line]:
    return [
        [],
        [Span(" " + _("No clusters are running."), "warn")],
        [Span(" " + _("Start one in another terminal: python manage.py qcluster"))],
    ]


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


def _legend() -> list[Line]:
    lines = (
        _("Pool busy/all workers   TQ tasks fetched, not started (green: its limit)"),
        _("RQ results not yet saved   RC processes restarted   Up hours:min:s"),
    )
    return [[Span(" " + line, "quiet")] for line in lines]


def _keys(first: int, shown: int, clusters: int) -> Line:
    spans = [Span(" q", "title"), Span(" " + _("quit"))]
    if shown < clusters:
        window = {"first": first + 1, "last": first + shown, "all": clusters}
        spans += [Span("   ↑↓", "title"), Span(" " + _("scroll"))]
        spans += [Span("   " + _("%(first)d-%(last)d of %(all)d") % window)]
    return spans


def _clip(line: Line, width: int) -> Line:
    kept: list[Span] = []
    left = width
    for span in line:
        text = cut(span.text, left)
        left -= columns(text)
        kept.append(span._replace(text=text))
    return kept
