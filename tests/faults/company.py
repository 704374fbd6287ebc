"""Company: rows that share one cluster, and healthy tasks beside the harmful one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from django_q.exceptions import BrokerError, PackageTooLarge
from django_q.models import Task
from tests.acceptance.conftest import Lodge
from tests.acceptance.harness import RunningCluster
from tests.faults.bench import SECONDS, Bench, Figures
from tests.faults.places import Place
from tests.faults.tasks import note
from tests.waiting import wait_until

AT_ONCE: Final = 10
"""Healthy tasks before the harmful one, and as many after it."""


class End(NamedTuple):
    """How a task ended."""

    success: bool
    attempts: int


class Host(Lodge):
    """Has the cluster of a module at a place of these tests."""

    def __init__(
        self,
        place: Place,
        folder: Path,
        settings: dict[str, Any],
        complaints: str | None,
    ) -> None:
        super().__init__(folder, settings, complaints)
        self.bench = Bench(place, folder, self.make)

    def make(self, **settings: Any) -> RunningCluster:
        cluster = RunningCluster(self.folder, **settings)
        cluster.complaints = self.complaints
        return cluster

    def cluster(self) -> RunningCluster:
        if self.tenant is None:
            self.tenant = self.bench.start(**self.settings)
        return self.tenant


class Company(Bench):
    """One row on the cluster of its module: a harmful task among healthy ones."""

    def __init__(self, host: Host, folder: Path) -> None:
        super().__init__(host.bench.place, folder, host.make)
        self.cluster = host.cluster()
        self.clusters = [self.cluster]
        self.harm = str(folder / "harm")
        """Where harmful tasks write."""

        self.sent = 0
        self._said_before = len(self.cluster.log)

    @property
    def queue(self) -> str:
        return self.cluster.queue

    @property
    def said(self) -> str:
        """The log of the cluster since the row began."""
        return self.cluster.log[self._said_before :]

    def says(self, pattern: str) -> bool:
        return re.search(pattern, self.said) is not None

    def wait_for_lines(self, pattern: str, count: int = 1) -> None:
        """So many lines of the log have this. They come after the rows."""

        def it_is_said() -> bool:
            return len(re.findall(pattern, self.said)) >= count

        wait_until(it_is_said)
        assert len(re.findall(pattern, self.said)) == count, pattern

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Healthy tasks come before the harm and after it."""
        self.send_healthy("before")
        yield
        self.send_healthy("after")

    def send_healthy(self, word: str) -> None:
        work = "tests.faults.tasks.work"
        for _ in range(AT_ONCE):
            self.sent += 1
            name = f"{word}-{self.sent}"
            task_id = self.cluster.send(work, self.log, name, SECONDS)
            note(self.acknowledgements, f"{task_id}:{name}")

    def put(self, package: str) -> bool:
        """Lay something on the queue, whatever it is; False if its server refused it."""
        with closing(self.cluster.broker()) as broker:
            try:
                broker.enqueue(package)
            except (BrokerError, PackageTooLarge):
                return False
        return True

    def end_of(self, task_id: str, within: float = 20.0) -> End:
        """What the row of a task says, once it is there; its result is not opened."""
        rows = Task.objects.filter(pk=task_id)

        def has_a_row() -> bool:
            return rows.exists()

        wait_until(has_a_row, within, every=0.1)
        success, attempts = rows.values_list("success", "attempt_count").get()
        return End(success, attempts)

    def failure_of(self, task_id: str, within: float = 20.0) -> str:
        """The text of a task that failed, at its first attempt."""
        end = self.end_of(task_id, within)
        assert end == End(success=False, attempts=1)
        return str(Task.objects.get(pk=task_id).result)

    def length_of(self, task_id: str) -> float:
        """Seconds from the queueing of a task to its end."""
        task = Task.objects.get(pk=task_id)
        return (task.stopped - task.started).total_seconds()

    def count_unharmed(self, within: float = 10.0, saved: float = 5.0) -> Figures:
        """All are counted. The healthy ones ran once each, at once and with success.

        `saved`: seconds after which all that has ended has its row, at most.
        """
        self.wait_for_recovery(within)
        ids = set(self.acknowledged().values())
        wait_until(lambda: self.rows(ids) == len(ids), saved + self.place.slack)
        figures = self.count()
        assert figures.twice == 0, figures
        rows = Task.objects.filter(pk__in=ids).values("success", "attempt_count")
        harmed = [r for r in rows if r != {"success": True, "attempt_count": 1}]
        assert not harmed, harmed
        return figures

    def workers(self) -> list[int]:
        """Once everybody is there."""
        wait_until(self.cluster.is_whole)
        return self.cluster.pids("worker")
