"""Measures: what is timed of one configuration, and what is counted to believe it.

Each gives a dict for a line of the results. "ok" says that every task ran once, and,
where results are stored, that each has one.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple, Self

from benchmarks.machine import Load
from benchmarks.trial import Execution, Trial, TrialFailed

Figures = dict[str, Any]

SECOND: Final = 1e9
"""In nanoseconds."""

PATIENCE: Final = 120.0
SLOWEST: Final = 50
"""Tasks a second, below which a run has failed."""

SETTLING: Final = 3.0
"""Seconds after its first tasks in which a cluster becomes idle."""

WARM_UP: Final = range(1_000_000, 1_000_004)
"""Numbers of tasks that are run before something is measured."""

MOMENT: Final = struct.Struct("<qq")
ROUNDS: Final = 3
CALLS: Final = 200


def drain(trial: Trial, count: int) -> Figures:
    """Tasks wait; the workers start, and run and store them all."""
    loaded = trial.produce("load", count)
    launched = trial.start()
    trial.wait_for_first()
    before = trial.load()
    have_run = trial.wait_for_runs(count, patience(count))
    have_come = trial.wait(
        lambda: trial.config.stored(trial) >= count, patience(count), 0.05
    )
    end = time.monotonic_ns()
    load = trial.load().since(before)
    stored, lines = trial.config.stored(trial), trial.executions()
    tail = trial.last_words()
    trial.stop()
    first = min(line.begun for line in lines)
    ok = have_run and have_come and stored == count
    return judged(lines, count, ok=ok, tail=tail) | {
        "rate": count * SECOND / (end - first),
        "execution_rate": rate_of(lines),
        "seconds": (end - first) / SECOND,
        "start": (first - launched) / SECOND,
        "loaded_in_bulk": loaded["bulk"],
        "worker_ms": load.workers * 1e3 / count,
        "server_ms": load.servers * 1e3 / count,
        "stored": stored,
        "repeats": trial.executed() - len(lines),
        "stray": load.stray,
    }


def patience(count: int) -> float:
    return PATIENCE + count / SLOWEST


def judged(
    lines: Sequence[Execution], count: int, *, ok: bool = True, tail: str = ""
) -> Figures:
    """Whether each task ran once; if not, what the workers said last."""
    different = len({line.number for line in lines})
    is_well = ok and len(lines) == different == count
    found: Figures = {"n": count, "executed": len(lines), "different": different}
    return found | {"ok": is_well} | ({} if is_well else {"tail": tail})


def rate_of(lines: Sequence[Execution]) -> float:
    """Tasks in a second, from the first that began to the last."""
    begun = [line.begun for line in lines]
    return (len(lines) - 1) * SECOND / max(1, max(begun) - min(begun))


def enqueue(trial: Trial, count: int) -> Figures:
    """Calls one after the other. Workers then run what was queued, to prove it."""
    return _enqueued(trial, count, "single")


def bulk(trial: Trial, count: int) -> Figures:
    """The peer's own call for many tasks, a thousand at once."""
    return _enqueued(trial, count, "bulk")


def _enqueued(trial: Trial, count: int, mode: str) -> Figures:
    before = trial.load()
    took = trial.produce(mode, count)
    load = trial.load().since(before)
    trial.start()
    trial.wait_for_runs(count, patience(count))
    lines = trial.executions()
    return judged(lines, count, tail=trial.last_words()) | {
        "rate": took["rate"],
        "seconds": took["seconds"],
        "stray": load.stray,
    }


def start(trial: Trial, count: int = 10) -> Figures:
    """From the launch of the worker programs to the begin of the first waiting task."""
    trial.produce("single", count)
    before = trial.load()
    launched = trial.start()
    trial.wait_for_first()
    load = trial.load().since(before)
    trial.wait_for_runs(count, 30)
    lines = trial.executions()
    first = min(line.begun for line in lines)
    return judged(lines, count, tail=trial.last_words()) | {
        "start": (first - launched) / SECOND,
        "stray": load.stray,
    }


def latency(trial: Trial, count: int = CALLS) -> Figures:
    """An idle cluster, and a call each 50 ms: from just before it to the task's begin."""
    become_idle(trial)
    file = trial.ground.notes / "moments"
    moments: dict[int, int] = {}
    before = trial.load()
    for first in range(0, ROUNDS * count, count):
        trial.produce("latency", count, first, file)
        trial.wait_for_runs(len(WARM_UP) + first + count, 10)
        moments |= dict(MOMENT.iter_unpack(file.read_bytes()))
    load = trial.load().since(before)
    lines = [line for line in trial.executions() if line.number not in WARM_UP]
    waits = waits_of(lines, moments)
    return judged(lines, ROUNDS * count, tail=trial.last_words()) | {
        **{f"p{percent}": percentile(waits, percent) for percent in (50, 95, 99)},
        "stray": load.stray,
    }


def waits_of(lines: Iterable[Execution], moments: Mapping[int, int]) -> list[float]:
    """Milliseconds that each task waited."""
    return [(line.begun - moments[line.number]) / 1e6 for line in lines]


def percentile(values: Sequence[float], percent: int) -> float:
    """Of the values in order, the one that so many of a hundred do not exceed."""
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def memory(trial: Trial, count: int = CALLS) -> Figures:
    """The processes of an idle cluster that has run some tasks."""
    become_idle(trial)
    trial.produce("single", count)
    trial.wait_for_runs(len(WARM_UP) + count, 60)
    time.sleep(SETTLING)
    lines = [line for line in trial.executions() if line.number not in WARM_UP]
    mib, processes = trial.memory()
    found = {"mib": mib, "processes": processes}
    return judged(lines, count, tail=trial.last_words()) | found


class Calls(NamedTuple):
    """How often the servers were asked so far."""

    redis: int | None
    database: int | None


class Glance(NamedTuple):
    """What a cluster has used so far."""

    calls: Calls
    cpu: float
    load: Load

    @classmethod
    def at(cls, trial: Trial) -> Self:
        return cls(calls(trial), trial.exact_cpu(), trial.load())


def idle(trials: Sequence[Trial], seconds: int = 30) -> list[Figures]:
    """Clusters with nothing to do: their processors, and how often they ask the servers.
    All at once, because they leave the machine idle.
    """
    for trial in trials:
        warm_up(trial)
    time.sleep(2 * SETTLING)
    earlier = [Glance.at(trial) for trial in trials]
    time.sleep(seconds)
    return [idled(*pair) for pair in zip(trials, earlier, strict=True)]


def idled(trial: Trial, before: Glance) -> Figures:
    now = Glance.at(trial)
    load = now.load.since(before.load)
    (redis, database), (redis_before, database_before) = now.calls, before.calls
    return judged(trial.executions(), len(WARM_UP), tail=trial.last_words()) | {
        "cpu_30": (now.cpu - before.cpu) / load.clock * 30,
        "redis_calls": per_second(redis_before, redis, load.clock, own=1),
        "transactions": per_second(database_before, database, load.clock),
        "stray": load.stray,
    }


def per_second(
    before: int | None, after: int | None, seconds: float, *, own: int = 0
) -> float | None:
    """`own`: how many of them were the question itself."""
    if before is None or after is None:
        return None
    return (after - before - own) / seconds


def calls(trial: Trial) -> Calls:
    redis = database = None
    if trial.config.uses_redis:
        said: Any = trial.redis().info("stats")
        redis = int(said["total_commands_processed"])
    if trial.is_on_server:
        name = trial.told["database"]["name"]
        question = "SELECT xact_commit + xact_rollback FROM pg_stat_database"
        # Asked in another database, so that it does not count itself.
        with closing(trial.ground.connect()) as line:
            row = line.execute(f"{question} WHERE datname = %s".encode(), [name])
            database = int((row.fetchone() or [0])[0])
    return Calls(redis, database)


def become_idle(trial: Trial) -> None:
    warm_up(trial)
    time.sleep(SETTLING)


def warm_up(trial: Trial) -> None:
    """Start the workers, and let them do what they do once."""
    trial.start()
    trial.produce("single", len(WARM_UP), WARM_UP.start)
    if not trial.wait_for_runs(len(WARM_UP), 60):
        raise TrialFailed(f"The first tasks have not run: {trial.last_words()}")


Measure = Callable[[Sequence[Trial], Any], list[Figures]]
"""Gives what was found of each."""


def alone(measure: Callable[[Trial, Any], Figures]) -> Measure:
    return lambda trials, size: [measure(trial, size) for trial in trials]


class Kind(NamedTuple):
    """A measure, and how often or how long unless somebody says otherwise."""

    measure: Measure
    size: int | None
    """None: what the configuration says."""

    title: str
    at_once: bool = False
    """All that are measured run beside each other, not in turns."""

    is_scaled: bool = False
    """`--scale` says how many it is: neither the calls that a percentile is made of, nor
    how long an idle cluster is watched.
    """


KINDS: Final[dict[str, Kind]] = {
    "drain": Kind(alone(drain), None, "Drain a full queue", is_scaled=True),
    "enqueue": Kind(
        alone(enqueue), 5000, "Enqueue, one call after the other", is_scaled=True
    ),
    "bulk": Kind(
        alone(bulk), 10_000, "Enqueue with the peer's call for many", is_scaled=True
    ),
    "latency": Kind(alone(latency), CALLS, "From the call to the begin of the task"),
    "memory": Kind(alone(memory), CALLS, "Memory of an idle cluster"),
    "idle": Kind(idle, 30, "Cost of an idle cluster", at_once=True),
    "start": Kind(alone(start), 10, "From the launch to the first task"),
}
