"""Report: what the lines of results say together.

A figure is the median of the runs that count: tasks ran once and all of them, and other
programs left the machine alone. A configuration without such a run has no figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple

from benchmarks.bars import BARS, Bar
from benchmarks.measures import KINDS
from benchmarks.records import Record, of_kind
from tests.rst import simple_table

STRAY: Final = 0.25
"""Processors that other programs may use in a run that counts."""

NOTHING: Final = "--"


class Figure(NamedTuple):
    """What several runs say."""

    middle: float
    least: float
    most: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure | None:
        if not values:
            return None
        return cls(median(values), min(values), max(values), len(values))


class Runs(NamedTuple):
    """The runs of one configuration, sorted out."""

    good: list[Record]
    failed: list[Record]
    disturbed: list[Record]

    def figure(self, name: str) -> Figure | None:
        found = [record[name] for record in self.good if record.get(name) is not None]
        return Figure.of(found)

    @property
    def left_out(self) -> str:
        """How many do not count, and why."""
        parts = {"failed": len(self.failed), "disturbed": len(self.disturbed)}
        said = [f"{count} {why}" for why, count in parts.items() if count]
        return ", ".join(said) or NOTHING


def sort_out(records: Iterable[Record], *, stray: float = STRAY) -> Runs:
    runs = Runs([], [], [])
    for record in records:
        if not record.get("ok"):
            runs.failed.append(record)
        elif record.get("stray", 0.0) > stray:
            runs.disturbed.append(record)
        else:
            runs.good.append(record)
    return runs


def by_config(records: Iterable[Record], *, stray: float = STRAY) -> dict[str, Runs]:
    collected: dict[str, list[Record]] = {}
    for record in records:
        collected.setdefault(record["config"], []).append(record)
    return {name: sort_out(some, stray=stray) for name, some in collected.items()}


# ------------------------------------------------------------------------------ bars


class Verdict(NamedTuple):
    """How a bar was met."""

    bar: Bar
    ours: Figure
    best: tuple[str, Figure] | None
    """The best of the others; None if the bar is a bound."""

    @property
    def ratio(self) -> float:
        """How many times better, or how many times under the bound."""
        their = self.best[1].middle if self.best else self.bar.aim
        mine = self.ours.middle
        over, under = (their, mine) if self.bar.is_cost else (mine, their)
        return over / under if under else float("inf")

    @property
    def is_met(self) -> bool:
        return self.ratio >= (self.bar.aim if self.best else 1.0)


def verdicts(records: Sequence[Record], *, stray: float = STRAY) -> Iterator[Verdict]:
    """Of each bar whose figures are there."""
    for bar in BARS:
        runs = by_config(of_kind(records, bar.kind), stray=stray)
        mine = runs[bar.ours].figure(bar.figure) if bar.ours in runs else None
        best = best_of(runs, bar)
        if mine is not None and (best is not None or not bar.others):
            yield Verdict(bar, mine, best)


def best_of(runs: Mapping[str, Runs], bar: Bar) -> tuple[str, Figure] | None:
    found = [
        (name, figure)
        for name in bar.others
        if name in runs and (figure := runs[name].figure(bar.figure)) is not None
    ]
    choose = min if bar.is_cost else max
    return choose(found, key=lambda pair: pair[1].middle) if found else None


def bar_rows(found: Iterable[Verdict]) -> list[list[str]]:
    head = ["Work", "Figure", "Ours", "Best of the others", "Ratio", "Aim", "Met"]
    rows = [head]
    for verdict in found:
        bar, best = verdict.bar, verdict.best
        sign = "at most " if best is None else ""
        rows.append(
            [
                f"{bar.kind}, {bar.ours.removeprefix('ours-')}",
                UNITS[bar.figure].title,
                shown(verdict.ours, bar.figure),
                f"{shown(best[1], bar.figure)} {best[0]}" if best else NOTHING,
                f"{verdict.ratio:.2f}",
                f"{sign}{bar.aim:g}",
                "yes" if verdict.is_met else "**no**",
            ]
        )
    return rows


# ---------------------------------------------------------------------------- tables


class Unit(NamedTuple):
    """How a figure is written."""

    title: str
    digits: int


UNITS: Final = {
    "rate": Unit("tasks/s", 0),
    "execution_rate": Unit("run only, tasks/s", 0),
    "n": Unit("n", 0),
    "seconds": Unit("s", 1),
    "worker_ms": Unit("worker CPU ms/task", 2),
    "server_ms": Unit("server CPU ms/task", 2),
    "start": Unit("start-up s", 2),
    "p50": Unit("p50 ms", 2),
    "p95": Unit("p95 ms", 2),
    "p99": Unit("p99 ms", 2),
    "mib": Unit("PSS MiB", 1),
    "processes": Unit("processes", 0),
    "cpu_30": Unit("CPU s in 30 s", 3),
    "redis_calls": Unit("Redis commands/s", 1),
    "transactions": Unit("PostgreSQL transactions/s", 1),
    "efficiency": Unit("efficiency", 3),
    "idle_wait_ms": Unit("longest wait ms", 2),
    "at_once": Unit("at once", 0),
    "rows_after": Unit("rows after", 0),
}

COLUMNS: Final = {
    "drain": ("rate", "n", "seconds", "execution_rate", "worker_ms", "server_ms"),
    "enqueue": ("rate", "n", "seconds"),
    "bulk": ("rate", "n", "seconds"),
    "latency": ("p50", "p95", "p99", "n"),
    "memory": ("mib", "processes"),
    "idle": ("cpu_30", "redis_calls", "transactions"),
    "start": ("start",),
}
"""The first one is ranked."""

MORE_IS_BETTER: Final = frozenset({"rate", "efficiency"})


def shown(figure: Figure | None, name: str) -> str:
    return NOTHING if figure is None else f"{figure.middle:,.{UNITS[name].digits}f}"


def span(figure: Figure, name: str) -> str:
    digits = UNITS[name].digits
    return f"{figure.least:,.{digits}f} to {figure.most:,.{digits}f}"


def kind_rows(
    kind: str, records: Sequence[Record], *, stray: float = STRAY
) -> list[list[str]]:
    """The configurations of one kind, the best first; those without a figure last."""
    first, *others = COLUMNS[kind]
    runs = by_config(of_kind(records, kind), stray=stray)
    ranked = {name: some.figure(first) for name, some in runs.items()}
    titles = [UNITS[name].title for name in others]
    head = ["Configuration", UNITS[first].title, "range", "to the best", *titles]
    rows = [[*head, "runs", "left out"]]
    more = first in MORE_IS_BETTER
    known = [(figure, name) for name, figure in ranked.items() if figure is not None]
    known.sort(key=lambda pair: pair[0].middle, reverse=more)
    for figure, name in known:
        ratio = figure.middle / known[0][0].middle
        cells = [shown(runs[name].figure(other), other) for other in others]
        facts = [shown(figure, first), span(figure, first), f"{ratio:.2f}", *cells]
        rows.append([name, *facts, str(figure.runs), runs[name].left_out])
    for name in (name for name, figure in ranked.items() if figure is None):
        gaps = [NOTHING] * (len(rows[0]) - 2)
        rows.append([name, *gaps, runs[name].left_out])
    return rows


def version_rows(records: Iterable[Record]) -> list[list[str]]:
    """What was installed in each environment, and the servers beside it."""
    rows: dict[str, list[str]] = {}
    for record in records:
        name = record["settings"]["environment"]
        said = ", ".join(f"{key} {value}" for key, value in record["versions"].items())
        rows[said] = [name, said]
    return [["Environment", "Versions"], *rows.values()]


def setting_rows(records: Iterable[Record]) -> list[list[str]]:
    """How the workers of each configuration were started."""
    rows: dict[str, list[str]] = {}
    for record in records:
        settings = record["settings"]
        programs = Counter(settings["commands"]).items()
        said = [f"``{text}``{f' x {n}' if n > 1 else ''}" for text, n in programs]
        note = settings["note"] or NOTHING
        rows[record["config"]] = [record["config"], ", ".join(said), note]
    return [["Configuration", "Worker programs", "Beside the defaults"], *rows.values()]


def tables(records: Sequence[Record], *, stray: float = STRAY) -> Iterator[Table]:
    """All that the lines have figures for."""
    found = list(verdicts(records, stray=stray))
    if found:
        yield Table("Aims", bar_rows(found))
    for kind, measured in KINDS.items():
        if of_kind(records, kind):
            yield Table(measured.title, kind_rows(kind, records, stray=stray))
    if records:
        yield Table("Settings", setting_rows(records), "names")
        yield Table("Versions", version_rows(records), "names")


class Table(NamedTuple):
    """A title and rows, of which the first is the head."""

    title: str
    rows: list[list[str]]
    style: str = "figures"
    """Of `docs/_static/tables.css`."""

    def text(self, style: str = "") -> str:
        head = f"{self.title}\n{'~' * len(self.title)}\n\n"
        return f"{head}{style}{simple_table(self.rows)}"

    def page(self) -> str:
        return self.text(f".. rst-class:: {self.style}\n\n")
