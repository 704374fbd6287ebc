"""Bench: a cluster under load, something that goes wrong, and the count afterwards."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from django.db import connection

from django_q.models import Task
from django_q.tasks import async_task
from tests.acceptance.harness import RunningCluster
from tests.faults.places import LEASE, Place
from tests.faults.producer import Order, producing
from tests.faults.tally import announcements, unannounced
from tests.faults.tasks import note
from tests.functions import words
from tests.waiting import wait_until

WORKERS: Final = 2
BOUND: Final = 2 * WORKERS
"""Tasks that one crash may repeat though they had ended, see docs/reliability.rst."""

SECONDS: Final = 0.06
RATE: Final = 20.0
"""Tasks in a second: 60 % of what the workers can do, so that a backlog goes away."""


@dataclass
class Figures:
    """What was counted in the end."""

    acknowledged: int = 0
    executed: int = 0
    """Different tasks that ran to their end."""

    lost: int = 0
    twice: int = 0
    """Runs to the end beyond the first of each task."""

    unannounced: int = 0
    """Those of them that no line of a log owns up to."""

    rows: int = 0
    missing: int = 0
    """Acknowledged tasks without a success."""

    recovery: float | None = None
    """Seconds from the fault, or from its end, until what was acknowledged before it had
    run. None: the row is not about that.
    """

    orphans: int = 0
    left: int = 0
    """Packages that are still on the queue."""

    refused: int = 0
    """Calls of async_task that raised: nobody was promised anything."""

    note: str = ""
    """What else there is to say."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is lost, missing or left over."""
        return not (self.lost or self.missing or self.left)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is repeated in silence either."""
        return self.is_complete and not self.unannounced


class Bench:
    """One row of the fault table on one broker."""

    def __init__(
        self,
        place: Place,
        folder: Path,
        make_cluster: Callable[..., RunningCluster],
    ) -> None:
        self.place = place
        self.folder = folder
        self.log = str(folder / "truth")
        self.acknowledgements = str(folder / "acknowledged")
        self.environment: dict[str, str] = {}
        """Of clusters and producers, beside what the place needs."""

        self.figures = Figures()
        self.clusters: list[RunningCluster] = []
        self._make_cluster = make_cluster

    # -- the cluster

    def start(
        self,
        *,
        wait: bool = True,
        host: str = "host",
        log: Path | None = None,
        place: Place | None = None,
        **settings: Any,
    ) -> RunningCluster:
        """A cluster on the queue of this bench; all of them share it.

        `place`: the same one behind another network, see Place.apart.
        """
        place = place or self.place
        common = {"workers": WORKERS, "retry": LEASE, "cluster_name": self.queue}
        cluster = self._make_cluster(**{**place.far, **common, **settings})
        cluster.environment |= self._environment | place.environment
        cluster.log_file = log or cluster.log_file
        cluster.on_host(host).start()
        self.clusters.append(cluster)
        if wait:
            cluster.wait_until_running()
        return cluster

    @property
    def queue(self) -> str:
        return f"faults-{self.folder.name}"[:60]

    @property
    def _environment(self) -> dict[str, str]:
        module = "tests.faults.settings"
        common = {"DJANGO_SETTINGS_MODULE": module, **self.place.environment}
        return common | self.environment

    # -- the load

    @contextmanager
    def load(
        self, *, rate: float = RATE, seconds: float = SECONDS, count: int = 100_000
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Somebody queues tasks meanwhile; some have run when this begins."""
        order = Order(self.queue, self.acknowledgements, self.log, seconds, rate, count)
        environment = {
            **self._environment,
            "QTEST_CACHE": str(self.folder / "cache"),
            "QTEST_SIGNALS": str(self.folder / "signals"),
        }
        with (
            self._producer_log.open("ab") as said,
            producing(order, self.place.far, environment, said) as producer,
        ):
            self.wait_until_ended(min(10, count))
            yield producer

    def send(
        self, word: str, seconds: float = SECONDS, *, task: str = "work", **options: Any
    ) -> str:
        """Queue one of the tasks beside this file from here; it counts as the others."""
        function = f"tests.faults.tasks.{task}"
        arguments = (self.log, word, seconds)
        task_id = async_task(function, *arguments, cluster=self.queue, **options)
        note(self.acknowledgements, f"{task_id}:{word}")
        return task_id

    def wait_until_ended(self, count: int, within: float = 20.0) -> None:
        """So many different tasks have run to their end."""

        def so_many_have_ended() -> bool:
            return len(self.ended()) >= count

        try:
            wait_until(so_many_have_ended, within)
        except AssertionError as error:
            if self._producer_log.exists():
                said = self._producer_log.read_text()[-2000:]
                error.add_note(f"The producer said:\n{said}")
            raise

    @property
    def _producer_log(self) -> Path:
        return self.folder / "producer.log"

    def acknowledged(self) -> dict[str, str]:
        """Word of each acknowledged task -> its id."""
        lines = [line.split(":") for line in words(self.acknowledgements)]
        return {word: task_id for task_id, word, *more in lines if not more}

    def refused(self) -> int:
        return sum(w.startswith("error:") for w in words(self.acknowledgements))

    def ended(self) -> Counter[str]:
        """How often each task ran to its end."""
        return self.noted("end:")

    def started(self) -> Counter[str]:
        return self.noted("start:")

    def twice(self) -> int:
        """Runs to the end beyond the first of each task, so far."""
        ended = self.ended()
        return ended.total() - len(ended)

    def noted(self, kind: str) -> Counter[str]:
        """How often each task wrote a line of this kind."""
        noted = words(self.log)
        return Counter(w.removeprefix(kind) for w in noted if w.startswith(kind))

    def held(self) -> int:
        """How many packages a cluster has taken and not yet settled."""
        with closing(self.clusters[-1].broker()) as broker:
            return broker.lock_size()

    # -- the fault, and what came of it

    def wait_for_recovery(self, within: float, since: float | None = None) -> None:
        """From now on, or from an earlier moment: until what was acknowledged before has
        run to its end.

        `within`: seconds, as the fault table says them; the place may need longer.
        """
        begun, before = since or monotonic(), set(self.acknowledged())
        within -= monotonic() - begun

        def everything_from_before_has_run() -> bool:
            return before <= set(self.ended())

        wait_until(everything_from_before_has_run, within + self.place.slack)
        self.figures.recovery = round(monotonic() - begun, 2)

    def announced(self) -> Counter[str]:
        """Name of a task -> how often the logs say that it starts again."""
        return announcements(cluster.log_file for cluster in self.clusters)

    def _unannounced(self, ids: dict[str, str]) -> int:
        extra = {ids[w]: n - 1 for w, n in self.ended().items() if n > 1 and w in ids}
        return unannounced(extra, self.announced()).total()

    def wait_for_work(self, cluster: RunningCluster, within: float) -> None:
        """From now on: until a new task has run, where none were on their way."""
        begun = monotonic()
        cluster.works(within + self.place.slack)
        self.figures.recovery = round(monotonic() - begun, 2)

    def count(self, within: float = 30.0, *, in_silence: int = 0) -> Figures:
        """Wait until all is done, and count. Nothing may be lost, missing or left over,
        and what ran to its end more than once has a line in a log for each repetition,
        but for so many `in_silence`.
        """
        cluster = self.clusters[-1]
        acknowledged = self.acknowledged()
        ids = set(acknowledged.values())

        def all_has_ended_and_is_saved() -> bool:
            connection.close_if_unusable_or_obsolete()
            has_run = set(acknowledged) <= set(self.ended())
            return has_run and self.rows(ids) == len(ids) and cluster.left() == 0

        try:
            wait_until(all_has_ended_and_is_saved, within, every=0.1)
        finally:
            self._count(cluster)
        assert self.figures.is_complete, self.figures
        assert self.figures.unannounced <= in_silence, self.figures
        return self.figures

    def _count(self, cluster: RunningCluster) -> None:
        acknowledged, ended = self.acknowledged(), self.ended()
        ids = set(acknowledged.values())
        figures = self.figures
        figures.acknowledged = len(acknowledged)
        figures.executed = len(ended)
        figures.lost = len(set(acknowledged) - set(ended))
        figures.twice = self.twice()
        figures.unannounced = self._unannounced(acknowledged)
        figures.rows = self.rows(ids)
        figures.missing = len(ids) - figures.rows
        figures.left = cluster.left()
        figures.refused = self.refused()

    def rows(self, ids: set[str] | None = None) -> int:
        """How many rows there are, or how many of these tasks have a success."""
        saved = Task.objects.filter(cluster=self.queue)
        wanted = saved if ids is None else saved.filter(id__in=ids, success=True)
        return wanted.count()

    def stop(self) -> None:
        """Stop what runs, cleanly and without a word too much. Who stays behind is
        counted, and killed.
        """
        for cluster in self.clusters:
            try:
                if cluster.process.poll() is None:
                    assert cluster.stop() == 0
                    cluster.complain_if_it_complained()
            finally:
                self.figures.orphans += len(cluster.members())
                cluster.destroy()

    def dismiss(self) -> None:
        """The end of a row."""
        if self.clusters and not self.figures.acknowledged:
            # The row failed before it came to that.
            self._count(self.clusters[-1])
        self.stop()
        assert not self.figures.orphans, self.figures
