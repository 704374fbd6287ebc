"""What the fault table says in the end: rows, brokers, figures.

The figures of the documents are kept in docs/faults.json. Rows that are run again with
--record take the place of what they had said before, and docs/faults.inc is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.faults.places import KINDS
from tests.rst import simple_table

Fact = dict[str, Any]
"""What was counted in one row on one broker, with "row", "title", "broker", "holds",
"date" and "with": versions.
"""

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
KEPT: Final = DOCS / "faults.json"
PAGE: Final = DOCS / "faults.inc"


class Run(NamedTuple):
    """The rows of one broker."""

    broker: str
    rows: list[int]
    """Those that were asked for."""
    facts: list[Fact]
    code: int
    """What pytest said; 0: every row holds."""

    @property
    def is_well(self) -> bool:
        return self.code == 0


def summary(runs: Sequence[Run]) -> str:
    """A line for each row of each broker, for a terminal."""
    return "\n".join(line for run in runs for line in _lines(run))


def keep(runs: Sequence[Run]) -> None:
    """Put what was found now among what was found before, and write the page."""
    before = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else []
    found = [fact for run in runs for fact in run.facts]
    # What was asked for and left no figures has failed before it could, or was skipped:
    # what it had said earlier is no longer known to be true.
    asked = {(run.broker, row) for run in runs for row in run.rows}
    before = [f for f in before if (f["broker"], f["row"]) not in asked]
    known = {(*_row_of(fact), fact["broker"]): fact for fact in [*before, *found]}
    facts = [known[place] for place in sorted(known)]
    lines = ",\n".join(json.dumps(fact, sort_keys=True) for fact in facts)
    KEPT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    PAGE.write_text(page(facts), encoding="utf-8")


def page(facts: Sequence[Fact]) -> str:
    """The table of the documents, and with what it was found."""
    return f"{table(facts)}\n{notes(facts)}{origin(facts)}"


def table(facts: Sequence[Fact]) -> str:
    """A row for each fault, a column for each broker."""
    cells = {(_row_of(fact), fact["broker"]): _cell(fact) for fact in facts}
    brokers = [kind for kind in KINDS if any(f["broker"] == kind for f in facts)]
    rows = [["#", "Fault", *brokers]]
    for number, title in sorted({_row_of(fact) for fact in facts}):
        found = [cells.get(((number, title), broker), "--") for broker in brokers]
        rows.append([str(number), title, *found])
    return simple_table(rows)


def origin(facts: Sequence[Fact]) -> str:
    """When it was found, and with which versions."""
    dates = sorted({fact["date"] for fact in facts})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    rigs = sorted({fact["with"] for fact in facts})
    return f"Run on {when}. " + " ".join(f"{rig}." for rig in rigs) + "\n"


def notes(facts: Sequence[Fact]) -> str:
    """What rows have to say besides, in a paragraph."""
    said = [
        f"Row {fact['row']}, {fact['broker']}: {fact['note']}."
        for fact in facts
        if fact.get("note")
    ]
    return " ".join(said) + "\n\n" if said else ""


def _row_of(fact: Fact) -> tuple[int, str]:
    """Some rows come in several variants."""
    return fact["row"], fact["title"]


def _lines(run: Run) -> Iterator[str]:
    for fact in sorted(run.facts, key=lambda fact: int(fact["row"])):
        held = "holds" if fact["holds"] else "FAILED"
        yield (
            f"{run.broker:12} {fact['row']:>2} {fact['title'][:44]:44} {held:6}"
            f" {fact['acknowledged']:>5} acknowledged {fact['executed']:>5} executed"
            f" {fact['lost']} lost {fact['twice']} twice {fact['missing']} rows missing"
            f" {fact['orphans']} orphans, {_seconds(fact)} s {fact['note']}".rstrip()
        )


def _cell(fact: Fact) -> str:
    """Tasks, lost, run twice, seconds: such as "181/0/2/0.4"."""
    if not fact["holds"]:
        return "**fails**"
    counted = fact["acknowledged"], fact["lost"], fact["twice"], _seconds(fact)
    return "/".join(map(str, counted))


def _seconds(fact: Fact) -> str:
    """How long recovery took, if the row is about that."""
    return "·" if fact["recovery"] is None else f"{fact['recovery']:.1f}"
