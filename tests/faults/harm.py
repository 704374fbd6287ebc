"""Harm: what happens to a cluster by chance, one thing after the other."""

from __future__ import annotations

import random
import signal
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Final, Protocol, TypeVar

import psutil

from tests.acceptance.harness import RunningCluster, signal_all
from tests.faults.scales import FORK_SERVER, is_fork_server

T = TypeVar("T")

VICTIMS: Final = {
    "worker": 6,
    "pusher": 3,
    "monitor": 3,
    "housekeeper": 2,
    "sentinel": 1,
    "root": 1,
    FORK_SERVER: 1,
    "machine": 1,
}
"""Who is hit how often. The machine is every process of the cluster at once."""

SIGNALS: Final = {signal.SIGKILL: 6, signal.SIGSTOP: 3, signal.SIGTERM: 1}
PAUSE: Final = (1.0, 6.0)
"""Seconds between two harms."""

FREEZE: Final = (0.5, 8.0)
"""Seconds that a frozen process stands still: some outlast the lease."""

GONE_WITHIN: Final = 30.0
"""Seconds in which everything of a cluster whose root is gone has ended."""


class Victims(Protocol):
    """Whose cluster it is."""

    cluster: RunningCluster

    def start(self) -> None: ...


class Harm:
    """Strikes again and again, wakes what it froze, and starts roots that have ended."""

    def __init__(self, site: Victims, dice: random.Random) -> None:
        self.site = site
        self.dice = dice
        self.done: Counter[tuple[str, str]] = Counter()
        """(who, signal) -> how often."""

        self.restarts = 0
        self._frozen: list[tuple[float, list[psutil.Process]]] = []
        self._next = 0.0
        self._leaving: list[tuple[float, RunningCluster]] = []
        self._left_behind = 0

    def advance(self) -> None:
        """Do what is due."""
        now = monotonic()
        self.heal(now)
        if now >= self._next:
            self._next = now + self.dice.uniform(*PAUSE)
            self._strike(now)

    def heal(self, now: float = float("inf")) -> None:
        """Wake whoever was frozen until then, and see that there is a cluster."""
        self._wake(now)
        self._start_again(monotonic())

    def left_behind(self) -> int:
        """Processes that have outlived their root."""
        leaving = (cluster.members() for _, cluster in self._leaving)
        return self._left_behind + sum(map(len, leaving))

    def clean_up(self) -> None:
        """Kill what is left."""
        for _, cluster in self._leaving:
            cluster.destroy()

    def progress(self) -> str:
        return f"{self.done.total()} harms, {self.restarts} restarts"

    @property
    def is_healed(self) -> bool:
        """Nobody stands still, and nothing is left of former clusters."""
        return not (self._frozen or self._leaving)

    # -- striking

    def _strike(self, now: float) -> None:
        who = self._draw(VICTIMS)
        number = self._draw(SIGNALS)
        victims = self._find(who)
        if not victims:
            return
        # A machine crashes at once: nobody sees another one die.
        is_crash = who == "machine" and number == signal.SIGKILL
        for step in [signal.SIGSTOP] * is_crash + [number]:
            signal_all(victims, step)
        if number == signal.SIGSTOP:
            self._frozen.append((now + self.dice.uniform(*FREEZE), victims))
        self.done[who, number.name] += 1

    def _draw(self, weights: dict[T, int]) -> T:
        return self.dice.choices(list(weights), list(weights.values()))[0]

    def _find(self, who: str) -> list[psutil.Process]:
        """Its living processes, as far as the vital signs are right."""
        cluster = self.site.cluster
        if who == "machine":
            return cluster.members()
        with suppress(psutil.NoSuchProcess):
            if who == FORK_SERVER:
                return [m for m in cluster.members() if is_fork_server(m)]
            pid = self.dice.choice(cluster.pids(who))
            return [psutil.Process(pid)] if cluster.has(pid) else []
        return []

    # -- and what follows

    def _wake(self, now: float) -> None:
        due = [victims for until, victims in self._frozen if until <= now]
        self._frozen = [each for each in self._frozen if each[0] > now]
        for victims in due:
            signal_all(victims, signal.SIGCONT)

    def _start_again(self, now: float) -> None:
        """As systemd does with a service whose main process has ended."""
        cluster = self.site.cluster
        if cluster.process.poll() is not None:
            self._leaving.append((now + GONE_WITHIN, cluster))
            self.restarts += 1
            self.site.start()
        for limit, former in list(self._leaving):
            left = former.members()
            if not left or now > limit:
                self._leaving.remove((limit, former))
                self._left_behind += len(left)
                former.destroy()
