"""Pages: what the documents show, written from the lines of results.

`docs/performance.rst` includes two files of the folder `docs/performance`, which also
gets the plots. Only `report --docs` writes there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from benchmarks.curves import growth_tables
from benchmarks.growth import STORIES
from benchmarks.measures import KINDS
from benchmarks.records import Record, of_kind
from benchmarks.report import STRAY, by_config, tables
from tests.environment import ROOT

FOLDER: Final = ROOT / "docs" / "performance"
TABLES: Final = "tables.inc"
GROWTH: Final = "growth.inc"
NO_FIGURES: Final = "No figures have been kept yet.\n"


def write(
    records: Sequence[Record], folder: Path = FOLDER, *, stray: float = STRAY
) -> list[Path]:
    """Both files, and the plots; gives what was written."""
    folder.mkdir(exist_ok=True)
    plots = list(draw(records, folder, stray=stray))
    pages = {
        TABLES: tables_page(records, stray=stray),
        GROWTH: growth_page(records, stray=stray),
    }
    for name, text in pages.items():
        (folder / name).write_text(text or NO_FIGURES, encoding="utf-8")
    return [*(folder / name for name in pages), *plots]


def tables_page(records: Sequence[Record], *, stray: float = STRAY) -> str:
    measured = [record for record in records if record["kind"] in KINDS]
    plots = {KINDS[record["kind"]].title: image(record["kind"]) for record in measured}
    parts = [
        f"{table.page()}\n{plots.get(table.title, '')}"
        for table in tables(measured, stray=stray)
    ]
    return "\n".join([*parts, origin(measured)]) if parts else ""


def growth_page(records: Sequence[Record], *, stray: float = STRAY) -> str:
    found = growth_tables(records, stray=stray)
    parts = [f"{table.page()}\n{image(f'growth-{name}')}" for name, _, table in found]
    return "\n".join([*parts, origin(of_kind(records, "growth"))]) if parts else ""


def image(name: str) -> str:
    """Relative to the page that includes it."""
    return f".. image:: {FOLDER.name}/{name}.png\n   :alt: {name}\n"


def origin(records: Sequence[Record]) -> str:
    """When and where it was measured."""
    days = sorted({record["at"][:10] for record in records})
    machines = {", ".join(record["machine"].values()) for record in records}
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Measured on {when}: {'; '.join(sorted(machines))}.\n"


def draw(records: Sequence[Record], folder: Path, *, stray: float) -> Iterator[Path]:
    plots = import_module("benchmarks.plots")
    for kind in KINDS:
        runs = by_config(of_kind(records, kind), stray=stray)
        if runs:
            file = folder / f"{kind}.png"
            plots.bars(kind, runs, file)
            yield file
    for name, curves, _table in growth_tables(records, stray=stray):
        file = folder / f"growth-{name}.png"
        plots.growth(STORIES[name], curves, file)
        yield file
