"""Plots: pictures of the figures. The only module that needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.curves import Curve
from benchmarks.growth import Story
from benchmarks.measures import KINDS
from benchmarks.report import COLUMNS, MORE_IS_BETTER, UNITS, Figure, Runs

OURS: Final = "#0c4b33"
OTHERS: Final = "#9aa5a0"
DPI: Final = 110
THOUSANDS: Final = "{x:,g}"


def bars(kind: str, runs: dict[str, Runs], file: Path) -> None:
    """A bar for each configuration, with the range of its runs; ours are darker."""
    figure = COLUMNS[kind][0]
    known = {name: found for name in runs if (found := runs[name].figure(figure))}
    better = figure in MORE_IS_BETTER
    names = sorted(known, key=lambda name: known[name].middle, reverse=not better)
    drawing, axes = new_drawing(height=1.2 + 0.3 * len(names))
    axes.barh(
        names,
        [known[name].middle for name in names],
        xerr=errors([known[name] for name in names]),
        color=[OURS if name.startswith("ours") else OTHERS for name in names],
    )
    axes.margins(y=0.01)
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.set_xlabel(UNITS[figure].title)
    axes.set_title(KINDS[kind].title)
    save(drawing, file)


def growth(story: Story, curves: Sequence[Curve], file: Path) -> None:
    """A line for each series, with the range of the runs at each place."""
    drawing, axes = new_drawing(height=4.0)
    for curve in curves:
        points = curve.points(story.y)
        axes.errorbar(
            [x for x, _figure in points],
            [figure.middle for _x, figure in points],
            yerr=errors([figure for _x, figure in points]),
            label=curve.series,
            marker="o",
            capsize=3,
        )
    # From zero tasks or milliseconds on, but with room for millions.
    axes.set_xscale("symlog", linthresh=1)
    places = sorted({x for curve in curves for x, _runs in curve.places})
    axes.set_xticks(places, [f"{x:,.0f}" for x in places])
    axes.minorticks_off()
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.set_xlabel(story.x_label)
    axes.set_ylabel(story.y_label)
    axes.set_title(story.title)
    axes.grid(visible=True, alpha=0.3)
    drawing.legend(loc="outside lower center", ncols=2)
    save(drawing, file)


def errors(figures: Sequence[Figure]) -> list[list[float]]:
    """How far the runs were below and above the median."""
    below = [figure.middle - figure.least for figure in figures]
    above = [figure.most - figure.middle for figure in figures]
    return [below, above]


def new_drawing(*, height: float) -> tuple[Any, Any]:
    mpl.use("Agg")
    drawing, axes = plt.subplots(figsize=(7.5, height), layout="constrained")
    return drawing, axes


def save(drawing: Any, file: Path) -> None:
    drawing.savefig(file, dpi=DPI, metadata={"Software": None})
    plt.close(drawing)
