"""The machine: what processes cost, what others take of it, and what it is."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import psutil

GIB: Final = 2**30
MIB: Final = 2**20


class Load(NamedTuple):
    """Seconds of processors since some moment; two of them make a difference."""

    clock: float
    busy: float
    """Of the whole machine."""

    own: float
    """Of this program and everything that it has started."""

    workers: float
    servers: float

    def since(self, earlier: Load) -> Load:
        pairs = zip(self, earlier, strict=True)
        return Load._make(now - then for now, then in pairs)

    @property
    def stray(self) -> float:
        """Processors that other programs used on average: above some, it is no measure."""
        return max(0.0, (self.busy - self.own) / max(self.clock, 1e-9))


def load(workers: Sequence[int] = (), servers: Sequence[int] = ()) -> Load:
    return Load(
        clock=time.monotonic(),
        busy=busy(),
        own=cpu_of([psutil.Process().pid]),
        workers=cpu_of(workers),
        servers=cpu_of(servers),
    )


def busy() -> float:
    """Waiting for a disk is not work, nor is what the host of a virtual machine takes."""
    now = psutil.cpu_times()
    return float(now.user + now.nice + now.system + now.irq + now.softirq)


def trees(roots: Sequence[int]) -> list[psutil.Process]:
    """These processes and all below them that are alive."""
    found = []
    for pid in roots:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            found += [root, *root.children(recursive=True)]
    return found


def cpu_of(roots: Sequence[int]) -> float:
    """Seconds; also of children that have ended and were waited for."""
    total = 0.0
    for process in trees(roots):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def exact_cpu_of(roots: Sequence[int]) -> float:
    """Seconds, not rounded to the ticks of the clock; only of threads that are alive.

    An idle cluster uses a few ticks in half a minute, and keeps its processes.
    """
    nanoseconds = 0
    for process in trees(roots):
        for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                nanoseconds += int(thread.read_text(encoding="ascii").split()[0])
    return nanoseconds / 1e9


def memory_of(roots: Sequence[int]) -> tuple[float, int]:
    """MiB of the processes, shared pages divided among those that share them; and how
    many processes they are.
    """
    sizes = []
    for process in trees(roots):
        with suppress(psutil.NoSuchProcess):
            sizes.append(process.memory_full_info().pss)
    return sum(sizes) / MIB, len(sizes)


def wait_for_quiet(most: float, *, patience: float = 60.0) -> None:
    """Until other programs use fewer processors than that, or patience ends: the run
    says in any case how disturbed it was.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = load()
        time.sleep(0.7)
        if load().since(before).stray < most:
            return
        time.sleep(2)


def description(folder: Path) -> dict[str, str]:
    """What a reader needs to know of it; `folder` is where databases are."""
    memory = psutil.virtual_memory().total / GIB
    return {
        "processors": f"{psutil.cpu_count()} x {processor()}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": file_system(folder),
        "python": f"Python {platform.python_version()}",
    }


def processor() -> str:
    """Its name, where the system tells."""
    said = Path("/proc/cpuinfo")
    lines = said.read_text(encoding="utf-8").splitlines() if said.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def file_system(folder: Path) -> str:
    """A commit costs nothing where files are in memory."""
    mounts = {Path(part.mountpoint): part for part in psutil.disk_partitions(all=True)}
    for parent in (folder.resolve(), *folder.resolve().parents):
        if parent in mounts:
            return str(mounts[parent].fstype)
    return "unknown"
