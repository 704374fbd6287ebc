"""Scales: what the processes of a cluster weigh as they grow older. Needs Linux.

A page that several processes share counts in equal parts for each (PSS). What is judged is
what is no file, and in full: how many others share it says nothing about us.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from statistics import median
from time import time  # noqa: TID251 - the kernel dates processes by it
from typing import Final, NamedTuple

import psutil

from tests.acceptance.harness import ROLES, RunningCluster

WARM: Final = 60.0
"""Seconds after which a process has loaded what it needs."""

LONG_ENOUGH: Final = 600.0
"""Seconds that must be seen after that before anything is judged."""

FLAT: Final = 16.0
"""KiB a minute: less is no growth. It would be five bytes for each of 3,000 tasks."""

FORK_SERVER: Final = "fork server"


class Weight(NamedTuple):
    """A process at one moment, in KiB."""

    age: float
    """Seconds since it was started."""

    tasks: int
    """How many its cluster had run by then."""

    resident: int
    shared_out: int
    """PSS."""

    own: int
    """What is no file, shared or not."""


Course = list[Weight]
"""One process through its life."""


class Scales:
    """Weighs every process of a cluster whenever it is asked to."""

    def __init__(self) -> None:
        self.courses: dict[tuple[str, int], Course] = defaultdict(list)

    def weigh(self, cluster: RunningCluster, tasks: int) -> None:
        for role, pid in processes(cluster):
            # Whoever dies meanwhile shows nothing.
            with suppress(OSError, KeyError, psutil.NoSuchProcess):
                weight = weight_of(pid, tasks)
                self.courses[role, pid].append(weight)

    def of_role(self, role: str) -> list[Course]:
        return [course for (mine, _), course in self.courses.items() if mine == role]

    def growths(self) -> list[Growth]:
        """One for each role that was seen."""
        seen = [(role, self.of_role(role)) for role in (*ROLES, FORK_SERVER)]
        return [growth(role, courses) for role, courses in seen if courses]


class Growth(NamedTuple):
    """What the processes of one role did."""

    role: str
    processes: int
    oldest: float
    """Seconds."""

    first: float
    """MiB of the oldest one after its first minute, and in the end."""

    last: float
    most: float
    """MiB that any of them ever had."""

    resident: float
    """The same, with what is shared counted in full."""

    per_minute: float | None
    """KiB, see `slopes_of`; None: too short to tell."""

    per_tasks: float | None
    """KiB for 10,000 tasks of its cluster."""

    @property
    def is_flat(self) -> bool:
        return self.per_minute is None or self.per_minute <= FLAT


def processes(cluster: RunningCluster) -> Iterator[tuple[str, int]]:
    """Everybody of a cluster by role, as far as it is known at the moment."""
    known = {pid: role for role in ROLES for pid in cluster.pids(role)}
    for member in cluster.members():
        with suppress(psutil.NoSuchProcess):
            if member.pid in known:
                yield known[member.pid], member.pid
            elif is_fork_server(member):
                yield FORK_SERVER, member.pid


def is_fork_server(process: psutil.Process) -> bool:
    return "multiprocessing.forkserver" in " ".join(process.cmdline())


def weight_of(pid: int, tasks: int) -> Weight:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kib = {name: int(size) for name, size, _ in map(str.split, rollup)}
    age = time() - psutil.Process(pid).create_time()
    own = kib["Anonymous:"] + kib["Swap:"]
    return Weight(age, tasks, kib["Rss:"], kib["Pss:"], own)


def growth(role: str, courses: Sequence[Course]) -> Growth:
    """The worst of the processes of a role that can be judged, and how old the oldest is."""
    oldest = max(courses, key=lambda course: course[-1].age)
    warm = [weight for weight in oldest if weight.age >= WARM] or oldest[-1:]
    slopes = [slope for slope in map(slopes_of, courses) if slope is not None]
    minute, tasks = max(slopes, default=(None, None))
    return Growth(
        role,
        len(courses),
        oldest[-1].age,
        warm[0].shared_out / 1024,
        warm[-1].shared_out / 1024,
        max(weight.shared_out for course in courses for weight in course) / 1024,
        max(weight.resident for course in courses for weight in course) / 1024,
        minute,
        tasks,
    )


def slopes_of(course: Course) -> tuple[float, float] | None:
    """KiB a minute and for 10,000 tasks, of a life that was long enough.

    The first quarter of it counts as warming up. Of the other three the median tells: one
    leap is in one of them, and a leak in all.
    """
    warm = [weight for weight in course if weight.age >= WARM]
    if not warm or warm[-1].age - warm[0].age < LONG_ENOUGH:
        return None
    quarter = (warm[-1].age - warm[0].age) / 4
    begins = [warm[0].age + number * quarter for number in (1, 2, 3)]
    parts = [[w for w in warm if begin <= w.age <= begin + quarter] for begin in begins]
    minute = median(slope((w.age / 60, w.own) for w in part) for part in parts)
    tasks = median(slope((w.tasks / 10_000, w.own) for w in part) for part in parts)
    return minute, tasks


def slope(points: Iterable[tuple[float, float]]) -> float:
    """The median of the slopes between any two: single ones that stand out weigh little."""
    pairs = combinations(points, 2)
    return median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 > x1)
