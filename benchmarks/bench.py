"""Bench: runs what was asked for, in turns, and keeps what came of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.configs import Config
from benchmarks.environments import Environments
from benchmarks.ground import Ground
from benchmarks.growth import STORIES, Skipped, points_of
from benchmarks.machine import wait_for_quiet
from benchmarks.measures import KINDS, Measure, alone
from benchmarks.records import Book, Record
from benchmarks.trial import Trial, TrialFailed

LONGEST_WORDS = 1500
SHOWN = ("rate", "start", "p50", "p99", "mib", "cpu_30", "efficiency", "idle_wait_ms")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was asked for."""

    runs: int = 3
    size: int | None = None
    """Tasks, calls or seconds, instead of what the measure says."""

    scale: float = 1.0
    """Of what the measure says."""

    most: int = 100_000
    """Tasks or rows that are filled in for a point of a growth story."""

    quiet: float | None = None
    """Wait before each run until other programs use fewer processors."""


class Bench:
    """One invocation."""

    def __init__(
        self, ground: Ground, places: Environments, out: Path, plan: Plan
    ) -> None:
        self.ground = ground
        self.places = places
        self.book = Book(out, ground, places)
        self.plan = plan

    def measure(self, kind: str, configs: Sequence[Config]) -> None:
        """Rounds outermost, so that a slow minute of the machine meets all of them."""
        measure, size, _title, at_once, is_scaled = KINDS[kind]
        parts = [configs] if at_once else [[config] for config in configs]
        scale = self.plan.scale if is_scaled else 1.0
        for number in range(self.plan.runs):
            for part in parts:
                usual = round((size or part[0].tasks) * scale)
                count = self.plan.size or max(1, usual)
                self._run(part, {"kind": kind, "run": number}, measure, count)

    def grow(self, name: str, configs: Sequence[Config]) -> None:
        story, plan = STORIES[name], self.plan
        measure = alone(story.measure)
        for number in range(plan.runs):
            for config in configs:
                for point in points_of(story, config, most=plan.most, tasks=plan.size):
                    facts = {"kind": "growth", "story": name, "run": number}
                    facts |= {"series": point.series, "x": point.x}
                    self._run([point.config], facts, measure, point)

    def _run(
        self,
        configs: Sequence[Config],
        facts: Record,
        measure: Measure,
        argument: object,
    ) -> None:
        if self.plan.quiet is not None:
            wait_for_quiet(self.plan.quiet)
        try:
            with ExitStack() as stack:
                trials = [self._trial(stack, config, configs) for config in configs]
                found = measure(trials, argument)
        except Skipped as reason:
            say(f"{configs[0].name}: skipped: {reason}")
            return
        except TrialFailed as error:
            failed = {"ok": False, "tail": str(error)[-LONGEST_WORDS:]}
            found = [failed] * len(configs)
        for config, figures in zip(configs, found, strict=True):
            say(line_of(self.book.write(config, facts | figures)))

    def _trial(
        self, stack: ExitStack, config: Config, company: Sequence[Config]
    ) -> Trial:
        redis = None
        if config.uses_redis and len(company) > 1:
            redis = stack.enter_context(self.ground.spare_redis())
        return stack.enter_context(Trial(self.ground, self.places, config, redis))


def line_of(record: Record) -> str:
    """What a terminal shows of a run."""
    what = record.get("story", record["kind"])
    place = f" {record['x']:,.0f}" if "x" in record else ""
    figures = [f"{key}={record[key]:,.4g}" for key in SHOWN if record.get(key)]
    stray = f"stray={record.get('stray', 0.0):.2f}"
    verdict = "ok" if record["ok"] else f"FAILED {record.get('tail', '')[-300:]}"
    name = record.get("series", record["config"])
    return f"{what}{place} {name}: {verdict} {' '.join(figures)} {stray}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
