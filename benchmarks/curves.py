"""Curves: what the lines of the growth stories say together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.growth import STORIES, Story
from benchmarks.records import Record, of_kind
from benchmarks.report import (
    NOTHING,
    STRAY,
    UNITS,
    Figure,
    Runs,
    Table,
    shown,
    sort_out,
    span,
)


class Curve(NamedTuple):
    """One line of a plot: the places, and what was found at each."""

    series: str
    places: list[tuple[float, Runs]]

    def points(self, figure: str) -> list[tuple[float, Figure]]:
        """Those that have a figure."""
        found = [(x, runs.figure(figure)) for x, runs in self.places]
        return [(x, value) for x, value in found if value is not None]


def curves_of(
    name: str, records: Sequence[Record], *, stray: float = STRAY
) -> list[Curve]:
    collected: dict[str, dict[float, list[Record]]] = {}
    for record in of_kind(records, "growth"):
        if record["story"] == name:
            places = collected.setdefault(record["series"], {})
            places.setdefault(record["x"], []).append(record)
    return [
        Curve(series, [(x, sort_out(places[x], stray=stray)) for x in sorted(places)])
        for series, places in collected.items()
    ]


def curve_rows(story: Story, curves: Sequence[Curve]) -> list[list[str]]:
    more = [UNITS[name].title for name in story.more]
    head = [story.x_label, "Configuration", story.y_label, "range"]
    rows = [[*head, *more, "runs", "left out"]]
    for curve in curves:
        for x, runs in curve.places:
            figure = runs.figure(story.y)
            facts = [
                shown(figure, story.y),
                span(figure, story.y) if figure else NOTHING,
            ]
            facts += [shown(runs.figure(name), name) for name in story.more]
            count = str(figure.runs) if figure else NOTHING
            rows.append([f"{x:,.0f}", curve.series, *facts, count, runs.left_out])
    return rows


def growth_tables(
    records: Sequence[Record], *, stray: float = STRAY
) -> Iterator[tuple[str, list[Curve], Table]]:
    """Of each story that has lines: its name, its curves and its table."""
    for name, story in STORIES.items():
        curves = curves_of(name, records, stray=stray)
        if curves:
            yield name, curves, Table(story.title, curve_rows(story, curves))
