"""Verdict: what a soak says in the end, on the terminal and in the documents."""

from __future__ import annotations

import platform
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import django

from tests.acceptance.harness import ROLES
from tests.faults.harm import VICTIMS
from tests.faults.scales import LONG_ENOUGH, Growth
from tests.rst import simple_table

FULL: Final = 0.95
"""Less of the load than this is another load."""

TITLES: Final = {
    "acknowledged": "Acknowledged",
    "executed": "Executed",
    "lost": "Lost",
    "twice": "Executed twice",
    "unannounced": "Of these without a log line",
    "rows": "Results",
    "missing": "Results missing",
    "left": "Left on the queue",
    "refused": "Refused",
}


class Side(NamedTuple):
    """The figures of one cluster."""

    title: str
    rate: float
    workers: int
    acknowledged: int
    executed: int
    lost: int
    twice: int
    unannounced: int
    rows: int
    missing: int
    left: int
    refused: int
    growths: list[Growth]

    def flaws(self, seconds: float) -> Iterator[str]:
        """Nothing is lost, missing or left, and nothing was repeated without a word."""
        for name in ("lost", "missing", "left", "unannounced"):
            if getattr(self, name):
                yield f"{name}: {getattr(self, name)}"
        if self.rows - self.acknowledged > self.refused:
            yield f"{self.rows} results"
        if self.acknowledged < self.rate * seconds * FULL:
            yield f"only {self.acknowledged / seconds:.0f} tasks a second were queued"


class Verdict(NamedTuple):
    """The whole of it."""

    options: Namespace
    minutes: float
    sides: list[Side]
    harms: Counter[tuple[str, str]]
    restarts: int
    orphans: int

    @property
    def unharmed(self) -> Side:
        return self.sides[-1]

    @property
    def holds(self) -> bool:
        return not self.flaws

    @property
    def flaws(self) -> list[str]:
        """What is not as it should be."""
        seconds = self.minutes * 60
        found = [f"{s.title}: {flaw}" for s in self.sides for flaw in s.flaws(seconds)]
        grown = [each.role for each in self.unharmed.growths if not each.is_flat]
        found += [f"{role} grows" for role in grown]
        found += [f"{role} was not weighed for long enough" for role in self._unjudged]
        return found + ["processes were left behind"] * bool(self.orphans)

    @property
    def _unjudged(self) -> list[str]:
        """Roles that nobody can say anything of, though there was time for it."""
        if self.minutes * 60 < 2 * LONG_ENOUGH:
            return []
        growths = self.unharmed.growths
        judged = {each.role for each in growths if each.per_minute is not None}
        return [role for role in ROLES if role not in judged]

    def text(self) -> str:
        """For a terminal."""
        held = f"FAILED: {'; '.join(self.flaws)}" if self.flaws else "Holds."
        tables = (table for _, table in self._tables())
        return "\n".join((*tables, f"{self._in_short()} {held}"))

    def page(self) -> str:
        """For the documents."""
        parts = (f"{title}\n\n{table}" for title, table in self._tables())
        return "\n".join((f"{self._in_short()}\n", *parts))

    def _in_short(self) -> str:
        versions = f"Python {platform.python_version()}, Django {django.__version__}"
        return (
            f"{self.minutes:.0f} minutes on {self.options.broker}, {versions}:"
            f" {self.harms.total()} harms, {self.restarts} starts of a root that had"
            f" ended, {self.orphans} processes left behind; seed {self.options.seed}."
        )

    def _tables(self) -> Iterator[tuple[str, str]]:
        yield "What became of the tasks:", simple_table(list(self._figures()))
        yield "What was done to the one cluster:", simple_table(list(self._harms()))
        for side in self.sides:
            title = f"What the processes of the {side.title} cluster weigh:"
            yield title, simple_table(list(weights(side.growths)))

    def _figures(self) -> Iterator[list[str]]:
        yield ["Cluster", *(side.title for side in self.sides)]
        yield ["Workers", *(str(side.workers) for side in self.sides)]
        seconds = self.minutes * 60
        rates = (f"{side.acknowledged / seconds:.0f}" for side in self.sides)
        yield ["Tasks a second", *rates]
        for name, title in TITLES.items():
            yield [title, *(f"{getattr(side, name):,}" for side in self.sides)]

    def _harms(self) -> Iterator[list[str]]:
        numbers = sorted({number for _, number in self.harms})
        yield ["Hit", *numbers]
        for who in VICTIMS:
            if any(self.harms[who, number] for number in numbers):
                yield [who, *(str(self.harms[who, number]) for number in numbers)]


def weights(growths: Sequence[Growth]) -> Iterator[list[str]]:
    """MiB, and the growth in KiB."""
    yield [
        *("Role", "Processes", "Oldest, min", "PSS at 1 min", "PSS at last"),
        *("PSS at most", "RSS at most", "KiB/min", "KiB/10,000 tasks"),
    ]
    for each in growths:
        yield [
            each.role,
            str(each.processes),
            f"{each.oldest / 60:.1f}",
            *(f"{mib:.1f}" for mib in (each.first, each.last)),
            *(f"{mib:.1f}" for mib in (each.most, each.resident)),
            *(
                "--" if k is None else f"{k:+.1f}"
                for k in (each.per_minute, each.per_tasks)
            ),
        ]
