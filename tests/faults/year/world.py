"""World: a site whose clusters are harmed for a while, and what came of its schedules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from random import Random
from time import monotonic
from typing import Final, NamedTuple

from django.conf import settings
from django.db import connection
from django.test import override_settings

from django_q.brokers import get_broker
from django_q.models import OrmQ, Schedule, ScheduleNote, Task
from tests.faults.year.actors import Cluster, Odds, Workers
from tests.faults.year.plans import SLOT, Plan, Span, expected, make_plans

CLUSTERS: Final = 5
HOUR: Final = timedelta(hours=1)
FUNC: Final = "tests.functions.echo"
NEVER: Final = Odds(0, 0, 0)


class Found(NamedTuple):
    """What came of it."""

    slots: int
    """That there were, by the oracle."""

    wrong: dict[tuple[str, str], tuple[int, int]]
    """Slots that did not run once: how often they should have, and how often they did."""

    left: list[str]
    """Schedules that do not stand where they should."""

    counts: Counter[str]
    """What was done to the clusters, and what they did."""

    seconds: float


class World:
    """Five clusters, and somebody who runs their tasks. The seed decides everything."""

    def __init__(self, span: Span, seed: int, odds: Odds, stride: timedelta) -> None:
        self.random = Random(f"{seed} {span.zone}")
        self.span = span
        self.now = span.first
        self.stride = stride
        self.counts: Counter[str] = Counter()
        self.workers = Workers()
        self.clusters = [
            Cluster(self.random, odds, self.visit) for _ in range(CLUSTERS)
        ]
        for cluster in self.clusters:
            cluster.time = lambda: self.now
        # Within a transaction of SQLite nobody else can write.
        self._may_visit = connection.vendor != "sqlite" and not get_broker().database

    def pass_by(self) -> None:
        """All until two hours before the end; then nobody is harmed any more."""
        end = self.span.last - 2 * HOUR
        while self.now < end:
            self.now = min(end, self.now + self._step())
            for actor in self.clusters:
                self._perhaps_set_clock(actor)
            self._let_work()
        self.now = self.span.last
        self._let_finish()

    def visit(self) -> None:
        """The workers take some steps while a cluster is in its transaction."""
        if self._may_visit and self.random.random() < 0.2:
            for _ in range(self.random.randint(1, 4)):
                self.workers.turn()

    def end(self) -> None:
        for actor in (*self.clusters, self.workers):
            actor.end()
        for cluster in self.clusters:
            self.counts.update(cluster.counts)

    def _step(self) -> timedelta:
        if self.random.random() < 0.002:
            self.counts["downtimes"] += 1
            return self.random.uniform(4, 72) * HOUR
        return min(self.random.expovariate(1) * self.stride, 6 * HOUR)

    def _perhaps_set_clock(self, cluster: Cluster) -> None:
        if self.random.random() < 0.02:
            before = cluster.ahead
            cluster.ahead = self.random.choice((-HOUR, 0 * HOUR, HOUR))
            self.counts["set"] += cluster.ahead != before

    def _let_work(self) -> None:
        """One pass of some, step by step; who stands still stays behind for rounds."""
        awake = []
        for cluster in self.clusters:
            if cluster.rounds_away:
                cluster.rounds_away -= 1
            elif cluster.is_working or self.random.random() < 0.5:
                awake.append(cluster)
        while awake:
            cluster = self.random.choice(awake)
            cluster.turn()
            if not cluster.is_working or cluster.rounds_away:
                awake.remove(cluster)
        self.workers.turn()

    def _let_finish(self) -> None:
        """Nobody is harmed any more: all that is due by now is fired, and runs."""
        for cluster in self.clusters:
            cluster.odds, cluster.ahead = NEVER, timedelta()
            while cluster.is_working:
                cluster.turn()
            cluster.restart()
        fired = -1
        while fired != (fired := sum(c.counts["fired"] for c in self.clusters)):
            for cluster in self.clusters:
                cluster.turn()
        self.workers.turn()
        while self.workers.is_working:
            self.workers.turn()


def simulate(span: Span, seed: int, odds: Odds, stride: timedelta) -> Found:
    """Let it all happen on the database and the broker of the settings."""
    begun, plans = monotonic(), make_plans(span)
    with site_in(span.zone):
        write(plans)
        world = World(span, seed, odds, stride)
        try:
            world.pass_by()
        finally:
            world.end()
        seconds = monotonic() - begun
        ran, wanted = world.workers.ran, expected(plans)
        wrong = {
            slot: (wanted[slot], ran[slot])
            for slot in wanted.keys() | ran.keys()
            if wanted[slot] != ran[slot]
        }
        return Found(wanted.total(), wrong, left(span), world.counts, seconds)


@contextmanager
def site_in(zone: str) -> Iterator[None]:
    """Its schedules are meant in this zone; at first it has none, and no tasks."""
    cluster = {**settings.Q_CLUSTER, "time_zone": zone, "catch_up": True}
    with override_settings(Q_CLUSTER=cluster):
        for model in (Schedule, ScheduleNote, Task, OrmQ):
            model.objects.all().delete()
        with closing(get_broker()) as broker:
            broker.purge_queue()
        yield


def write(plans: Iterable[Plan]) -> None:
    for plan in plans:
        columns = plan.columns | {"func": FUNC, "intended_date_kwarg": SLOT}
        Schedule.objects.create(name=plan.name, **columns)


def left(span: Span) -> list[str]:
    """Schedules that are still due, or bad, and tasks that nobody ran."""
    rows = Schedule.objects.exclude(repeats=0)
    found = [f"due: {row.name}" for row in rows.filter(next_run__lte=span.last)]
    bad = Schedule.objects.filter(note__error__isnull=False)
    found += [f"bad: {row.name}: {row.error}" for row in bad]
    with closing(get_broker()) as broker:
        found += ["queued"] * (broker.queue_size() + broker.lock_size())
    return found
