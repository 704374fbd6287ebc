"""What `python -m tests.faults.soak` runs, beside a database server: the siege, the count."""

from __future__ import annotations

import os
import random
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from django_q.conf import Conf
from tests.databases import command
from tests.faults.places import LEASE, Place, open_place
from tests.faults.producer import Order, producing
from tests.faults.soak import parse

django.setup()

from django_q.models import Task  # noqa: E402 - they need the apps
from tests.acceptance.harness import RunningCluster  # noqa: E402
from tests.faults.harm import Harm  # noqa: E402
from tests.faults.scales import Scales  # noqa: E402
from tests.faults.tally import Tally, announcements  # noqa: E402
from tests.faults.verdict import Side, Verdict  # noqa: E402
from tests.waiting import wait_until  # noqa: E402

SHARE: Final = 0.7
"""Of the load, on the cluster that is harmed."""

WORKERS: Final = {"harmed": 4, "unharmed": 2}
SECONDS: Final = 0.003
"""How long a task takes."""

WEIGH_EVERY: Final = 10.0
SAY_EVERY: Final = 60.0
REST: Final = 180.0
"""Seconds that all that is still waiting in the end may take."""


class Site:
    """One cluster, those who queue tasks for it, and what is known of them."""

    def __init__(self, title: str, rate: float, place: Place, folder: Path) -> None:
        self.title = title
        self.rate = rate
        self.queue = f"soak-{title}"
        self.place = place
        self.folder = folder
        self.workers = WORKERS[title]
        self.logs: list[Path] = []
        self.scales = Scales()
        self.log = folder / f"{title}-truth"
        acknowledged = folder / f"{title}-acknowledged"
        self.tally = Tally(self.queue, acknowledged, self.log)
        where = str(acknowledged), str(self.log)
        self._order = Order(self.queue, *where, SECONDS, rate, 10**9)

    def start(self) -> None:
        """Start the cluster, as systemd does: also while something of the last is left."""
        options: dict[str, Any] = {
            **self.place.near,
            "cluster_name": self.queue,
            "workers": self.workers,
            "log_level": "WARNING",
            # Kills shall not add up to a failure of their own.
            "max_deliveries": 1000,
        }
        # Where nobody is killed, the workers grow as old as all others.
        options |= {"retry": LEASE} if self.title == "harmed" else {"recycle": 0}
        self.cluster = RunningCluster(self.folder, **options)
        self.cluster.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "QTEST_SIGNALS": os.devnull,
        }
        self.logs.append(self.cluster.log_file)
        self.cluster.start()

    @contextmanager
    def load(self) -> Iterator[None]:
        """Tasks are queued all the time."""
        with producing(self._order, self.place.near, {}) as producer:
            yield
            if producer.poll() is not None:
                raise AssertionError(f"The producer ended with {producer.returncode}.")

    def destroy(self) -> None:
        self.cluster.destroy()

    def is_done(self) -> bool:
        """Everything was executed and saved, and nothing waits."""
        self.tally.update()
        undone = self.tally.lost or self.tally.missing
        return not undone and self.cluster.queue_is_empty()


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    folder = Path(os.environ["QTEST_SOAK_FOLDER"])
    if connection.vendor != "sqlite":
        command(f"CREATE DATABASE {connection.settings_dict['NAME']}")
    call_command("migrate", verbosity=0)
    with open_place(options.broker) as place:
        settings.Q_CLUSTER = settings.Q_CLUSTER | place.near
        Conf.reload()
        verdict = besiege(options, place, folder)
    print(verdict.text())
    if options.record:
        options.record.write_text(verdict.page(), encoding="utf-8")
    return 0 if verdict.holds else 1


def besiege(options: Namespace, place: Place, folder: Path) -> Verdict:
    print(f"seed {options.seed}", flush=True)
    harmed = Site("harmed", options.rate * SHARE, place, folder)
    unharmed = Site("unharmed", options.rate * (1 - SHARE), place, folder)
    harm = Harm(harmed, random.Random(options.seed))
    sites = [harmed, unharmed]
    with ExitStack() as stack:
        stack.callback(harm.clean_up)
        for site in sites:
            site.start()
            stack.callback(site.destroy)
            site.cluster.wait_until_running()
        with harmed.load(), unharmed.load():
            begun = monotonic()
            watch(sites, harm, until=begun + options.minutes * 60)
            minutes = (monotonic() - begun) / 60
        for site in sites:
            wait_for_rest(site, harm)
        print(f"The unharmed cluster said: {unharmed.cluster.log[-2000:] or 'nothing'}")
        told = [side(site) for site in sites]
        orphans = sum(map(stop, sites)) + harm.left_behind()
    return Verdict(options, minutes, told, harm.done, harm.restarts, orphans)


def watch(sites: list[Site], harm: Harm, until: float) -> None:
    """Harm the one, weigh both, and say once a minute how it goes."""
    begun = monotonic()
    next_weighing, next_word = begun + WEIGH_EVERY, begun + SAY_EVERY
    while (now := monotonic()) < until:
        harm.advance()
        if now >= next_weighing:
            next_weighing += WEIGH_EVERY
            weigh(sites)
        if now >= next_word:
            next_word += SAY_EVERY
            told = "; ".join(map(progress, sites))
            minute = round((now - begun) / 60)
            print(f"minute {minute:>3}: {told}; {harm.progress()}", flush=True)
        sleep(0.05)
    weigh(sites)


def weigh(sites: list[Site]) -> None:
    for site in sites:
        site.tally.update()
        site.scales.weigh(site.cluster, len(site.tally.executed))


def progress(site: Site) -> str:
    tally = site.tally
    return (
        f"{site.title} {tally.acknowledged:,} acknowledged,"
        f" {tally.lost} to be executed, {tally.missing} to be saved,"
        f" {tally.twice} twice"
    )


def wait_for_rest(site: Site, harm: Harm) -> None:
    """What still waits is done, or is counted as lost."""

    def all_is_done() -> bool:
        harm.heal()
        return harm.is_healed and site.is_done()

    try:
        wait_until(all_is_done, within=REST, every=0.5)
    except AssertionError as error:
        print(f"{site.title}: {error}\n{site.cluster.log[-3000:]}")


def stop(site: Site) -> int:
    """Stop the cluster in order; gives how many processes are left of it."""
    try:
        site.cluster.stop()
    except AssertionError as error:
        print(f"{site.title}: {error}")
    return len(site.cluster.members())


def side(site: Site) -> Side:
    """What came of one cluster."""
    tally = site.tally
    silent = tally.unannounced(announcements(site.logs))
    for task_id in silent:
        print(f"ran again without a line: {task_id}, {course_of(site, task_id)}")
    return Side(
        site.title,
        site.rate,
        site.workers,
        tally.acknowledged,
        len(tally.executed),
        tally.lost,
        tally.twice,
        silent.total(),
        tally.rows(),
        tally.missing,
        site.cluster.left(),
        tally.refused,
        site.scales.growths(),
    )


def course_of(site: Site, task_id: str) -> str:
    """What a task wrote down itself: when it began and ended, and in which process."""
    word = Task.objects.get(id=task_id).args[1]
    lines = site.log.read_text().splitlines()
    return "; ".join(x for x in lines if x.split()[0].partition(":")[2] == word)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
