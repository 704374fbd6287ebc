"""What the fault table says in the end: rows, brokers, figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tests.rst import simple_table


class Run(NamedTuple):
    """The rows of one broker."""

    broker: str
    facts: list[dict[str, Any]]
    code: int
    """What pytest said; 0: every row holds."""

    @property
    def is_well(self) -> bool:
        return self.code == 0


def summary(runs: Sequence[Run]) -> str:
    """A line for each row of each broker, for a terminal."""
    return "\n".join(line for run in runs for line in _lines(run))


def table(runs: Sequence[Run]) -> str:
    """The table of the documents: a row for each fault, a column for each broker."""
    titles = {fact["row"]: fact["title"] for run in runs for fact in run.facts}
    cells = {
        (fact["row"], run.broker): _cell(fact) for run in runs for fact in run.facts
    }
    brokers = [run.broker for run in runs]
    rows = [["#", "Fault", *brokers]]
    for number in sorted(titles):
        found = [cells.get((number, broker), "--") for broker in brokers]
        rows.append([str(number), titles[number], *found])
    return simple_table(rows)


def _lines(run: Run) -> Iterator[str]:
    for fact in sorted(run.facts, key=lambda fact: int(fact["row"])):
        held = "holds" if fact["holds"] else "FAILED"
        yield (
            f"{run.broker:12} {fact['row']:>2} {fact['title'][:44]:44} {held:6}"
            f" {fact['acknowledged']:>5} acknowledged {fact['executed']:>5} executed"
            f" {fact['lost']} lost {fact['twice']} twice {fact['missing']} rows missing"
            f" {fact['orphans']} orphans, {fact['recovery']:g} s"
        )


def _cell(fact: dict[str, Any]) -> str:
    """Such as "181 tasks, 0 lost, 2 twice, 0.4 s"."""
    if not fact["holds"]:
        return "**fails**"
    tasks, lost, twice = fact["acknowledged"], fact["lost"], fact["twice"]
    return f"{tasks} tasks, {lost} lost, {twice} twice, {fact['recovery']:g} s"
