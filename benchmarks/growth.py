"""Growth: how a rate changes while one thing grows, each thing a story with a plot.

For ours and django-q2, which have the settings and the tables that grow here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from benchmarks.clusters import LIMIT, through
from benchmarks.configs import OURS, Config
from benchmarks.counts import pruned
from benchmarks.measures import Figures, drain, judged, patience, rate_of
from benchmarks.trial import Execution, Trial

TRANSFER: Final = 200_000_000
"""Bytes of arguments that are sent for one point, at most."""

LONG: Final = 5.0
"""Seconds that the long task takes."""

AHEAD: Final = 20_000
"""So many more tasks than are measured can run: a cluster goes on until it has stopped."""

GROUPS: Final = 100
"""Rows and tasks are spread over so many, evenly."""

SLEEPING: Final = 0.1
MANY: Final = 10_000
NO_RECYCLING: Final = 1_000_000
KNOWN_SETTINGS: Final = """
import dataclasses, json
from django_q import options
print(json.dumps([field.name for field in dataclasses.fields(options.Options)]))
"""


class Skipped(Exception):
    """This point can't be measured here; the message says why."""


class Point(NamedTuple):
    """One place of a plot."""

    series: str
    """The line of the plot that it is on."""

    x: float
    config: Config
    tasks: int


Points = Callable[[Config], Iterator[Point]]
Measure = Callable[[Trial, Point], Figures]


def drained(trial: Trial, point: Point) -> Figures:
    return drain(trial, point.tasks)


# ------------------------------------------------------------- processes and clusters


def by_workers(config: Config) -> Iterator[Point]:
    for workers in (1, 2, 4, 8):
        changed = config.with_settings(workers=workers)
        yield Point(config.name, workers, changed, config.tasks)


def by_clusters(config: Config) -> Iterator[Point]:
    for clusters in (1, 4):
        changed = replace(config, commands=config.commands * clusters)
        yield Point(config.name, clusters, changed, config.tasks)


# --------------------------------------------------------------- what there is already


def by_waiting(config: Config) -> Iterator[Point]:
    for waiting in (100, 100_000, 5_000_000):
        yield Point(config.name, waiting, config, min(waiting, config.tasks))


def first_of_many(trial: Trial, point: Point) -> Figures:
    """The rate of the first tasks; the others are left."""
    fill_queue(trial, int(point.x), point.tasks)
    # A hundred tasks last as long as two ticks of the clock that tells who else was at work,
    # so the start counts with them.
    before = trial.load()
    trial.start()
    trial.wait_for_first()
    trial.wait_for_runs(point.tasks, patience(point.tasks))
    load = trial.load().since(before)
    tail = trial.last_words()
    trial.stop()
    lines = sorted(trial.executions(), key=lambda line: line.begun)
    once = len({line.number for line in lines}) == len(lines)
    first = lines[: point.tasks]
    return judged(first, point.tasks, ok=once, tail=tail) | {
        "rate": rate_of(first),
        "stray": load.stray,
    }


def fill_queue(trial: Trial, count: int, tasks: int) -> None:
    """It is not what is measured: only as many are signed as may be begun."""
    signed = min(count, tasks + AHEAD)
    fill(trial, "waiting", signed)
    if count > signed:
        fill(trial, "copies", count - signed)


def fill(trial: Trial, what: str, *numbers: int) -> None:
    trial.run("-m", "benchmarks.site.fill", what, *map(str, numbers))


def by_rows(config: Config) -> Iterator[Point]:
    """The number of rows is not what tells that tasks are through; but where there is a
    limit, it has to be kept.
    """
    counted = replace(config, stored=through(config))
    grouped = {"save_limit": LIMIT, "save_limit_per": "group"}
    limited = replace(config, stored=pruned(through(config), LIMIT))
    by_group = replace(config, stored=pruned(through(config), GROUPS * LIMIT))
    ways = {
        "save_limit 0": counted.with_settings(save_limit=0),
        "save_limit 250": limited.with_settings(save_limit=LIMIT),
        "250 per group": by_group.with_settings(**grouped).with_options(groups=GROUPS),
    }
    for rows in (1_000, 100_000, 5_000_000):
        for way, changed in ways.items():
            yield Point(f"{config.name}, {way}", rows, changed, config.tasks)


def among_rows(trial: Trial, point: Point) -> Figures:
    fill(trial, "rows", int(point.x))
    found = drain(trial, point.tasks)
    rows = trial.ask("select count(*) from django_q_task where success")
    new = trial.ask(
        "select count(*) from django_q_task where success and name <> 'filled'"
    )
    keeps_all = trial.config.options["q"]["save_limit"] == 0
    if keeps_all and new != point.tasks:
        found |= {"ok": False, "tail": f"{new} new rows"}
    return found | {"rows_after": rows}


# --------------------------------------------------------------------- what tasks are


def by_size(config: Config) -> Iterator[Point]:
    for size in (10, 100, 1_000, 10_000, 100_000, 1_000_000):
        tasks = min(config.tasks, TRANSFER // size)
        yield Point(config.name, size, config.with_options(payload=size), tasks)


def by_duration(config: Config) -> Iterator[Point]:
    """About ten seconds for each."""
    for ms in (0, 1, 10, 100):
        changed = config.with_options(func="nap", nap=ms / 1000)
        tasks = min(config.tasks, 20_000 // ms) if ms else config.tasks
        yield Point(config.name, ms, changed, tasks)


def efficiently(trial: Trial, point: Point) -> Figures:
    found = drain(trial, point.tasks)
    return found | {"efficiency": efficiency(trial.executions(), workers=2)}


def efficiency(lines: Sequence[Execution], *, workers: int) -> float:
    """Which part of the time of the workers was spent in tasks."""
    busy = sum(line.ended - line.begun for line in lines)
    begun = min(line.begun for line in lines)
    ended = max(line.ended for line in lines)
    return busy / (workers * max(1, ended - begun))


def by_company(config: Config) -> Iterator[Point]:
    """A long task comes first; the short ones take longer than it, with one worker."""
    # A worker that was replaced would look idle for the rest of the run.
    kept = config.with_settings(recycle=NO_RECYCLING)
    for ms in (1, 10, 100):
        changed = kept.with_options(func="nap", nap=ms / 1000, long=LONG)
        tasks = round(1.5 * LONG * 1000 / ms)
        yield Point(config.name, ms, changed, tasks)


def in_company(trial: Trial, point: Point) -> Figures:
    found = drain(trial, point.tasks)
    return found | {"idle_wait_ms": longest_idle_wait(trial.executions())}


def longest_idle_wait(lines: Sequence[Execution]) -> float:
    """Milliseconds that a worker was idle while a task waited that another had in hand.

    All tasks wait from the beginning, so each pause of a worker before the last task has
    begun is such a time.
    """
    last = max(line.begun for line in lines)
    by_worker = defaultdict(list)
    for line in lines:
        by_worker[line.process].append(line)
    pauses = [0]
    for own in by_worker.values():
        own.sort(key=lambda line: line.begun)
        next_ones = [*(line.begun for line in own[1:]), last]
        pauses += [
            begun - line.ended for line, begun in zip(own, next_ones, strict=True)
        ]
    return max(pauses) / 1e6


def by_concurrency(config: Config) -> Iterator[Point]:
    """One worker, and tasks that wait a tenth of a second on its event loop."""
    one = config.with_options(func="async_nap", nap=SLEEPING)
    for concurrency in (1, 10, 100, 1_000, 10_000):
        changed = one.with_settings(workers=1, concurrency=concurrency)
        tasks = min(MANY, 100 * concurrency)
        yield Point(config.name, concurrency, changed, tasks)


def at_once(trial: Trial, point: Point) -> Figures:
    if "concurrency" not in known_settings(trial):
        raise Skipped(f"{point.config.name} has no setting `concurrency`.")
    found = drain(trial, point.tasks)
    return found | {"at_once": most_at_once(trial.executions())}


def known_settings(trial: Trial) -> list[str]:
    if trial.config.environment != OURS:
        return []
    known: list[str] = json.loads(trial.run("-c", KNOWN_SETTINGS))
    return known


def most_at_once(lines: Sequence[Execution]) -> int:
    """How many tasks were between begin and end in one moment."""
    changes = [(line.begun, 1) for line in lines]
    changes += [(line.ended, -1) for line in lines]
    most = now = 0
    for _moment, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


class Story(NamedTuple):
    """What grows, and what is looked at meanwhile."""

    title: str
    x_label: str
    y: str
    """The figure."""

    y_label: str
    points: Points
    measure: Measure
    more: tuple[str, ...] = ()
    """Figures beside it, for the table."""

    is_counted: bool = False
    """`--most` bounds it: how much there is to be filled in first."""


STORIES: Final[dict[str, Story]] = {
    "workers": Story("Workers", "workers", "rate", "tasks/s", by_workers, drained),
    "clusters": Story(
        "Clusters of two workers", "clusters", "rate", "tasks/s", by_clusters, drained
    ),
    "waiting": Story(
        "Tasks that wait",
        "waiting tasks",
        "rate",
        "tasks/s, the first ones",
        by_waiting,
        first_of_many,
        is_counted=True,
    ),
    "rows": Story(
        "Rows of results",
        "rows before",
        "rate",
        "tasks/s",
        by_rows,
        among_rows,
        more=("execution_rate", "rows_after"),
        is_counted=True,
    ),
    "size": Story(
        "Size of the arguments", "bytes", "rate", "tasks/s", by_size, drained
    ),
    "duration": Story(
        "Duration of the tasks",
        "ms",
        "efficiency",
        "busy time of the workers / time",
        by_duration,
        efficiently,
        more=("rate",),
    ),
    "mix": Story(
        "Short tasks beside one of five seconds",
        "ms of a short task",
        "idle_wait_ms",
        "longest wait beside an idle worker, ms",
        by_company,
        in_company,
        more=("rate",),
    ),
    "async": Story(
        "Sleeping async tasks on one worker",
        "concurrency",
        "rate",
        "tasks/s",
        by_concurrency,
        at_once,
        more=("at_once",),
    ),
}


def points_of(
    story: Story, config: Config, *, most: int, tasks: int | None
) -> Iterator[Point]:
    """Those that were asked for."""
    for point in story.points(config):
        if not story.is_counted or point.x <= most:
            yield point._replace(tasks=min(point.tasks, tasks or point.tasks))
