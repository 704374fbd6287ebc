"""A crash of everything at once, and a start after it."""

from __future__ import annotations

import pytest

from django_q.models import Task
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database

LEASE = 2
SETTINGS = {"retry": LEASE, "workers": 2}


def test_restart_after_a_crash_loses_nothing(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(**SETTINGS)
    ids = cluster.send_many(30, functions.log_and_sleep, diary.path, 0.1)
    diary.wait_until_begun(8)
    cluster.kill_everything()
    ids += [cluster.send(functions.log_and_sleep, diary.path, "meanwhile", 0)]
    begun = set(diary.of("start"))
    assert len(begun) < 30
    successor = running_cluster(**SETTINGS, cluster_name=cluster.queue)
    rows = successor.wait_for_all(ids, within=LEASE + 10)
    assert all(row.success for row in rows)
    assert len(diary.of("end")) == 31
    assert diary.extra_ends() <= 2 * SETTINGS["workers"]
    assert successor.says("WARNING rescued")


def test_three_crashes_among_short_tasks_lose_nothing(
    running_cluster: Runner, diary: Diary
) -> None:
    # A task that all three crashes hit has deliveries left, also for a lease that lapses
    # while the whole machine is paused.
    settings = {**SETTINGS, "cluster_name": "crashing", "max_deliveries": 8}
    ids: list[str] = []
    for n in range(3):
        cluster = running_cluster(**settings)
        ids += [
            cluster.send(functions.log_and_sleep, diary.path, f"{n}-{m}", 0.002)
            for m in range(120)
        ]
        diary.wait_until_begun(60 * n + 30)
        cluster.kill_everything()
    survivor = running_cluster(**settings)
    rows = survivor.wait_for_all(ids)
    assert [row.result for row in rows if not row.success] == []
    assert len(diary.of("end")) == 360


def test_task_that_takes_the_machine_down_is_not_blamed_on_its_neighbours(
    running_cluster: Runner, diary: Diary
) -> None:
    """Everything crashes whenever one task runs: it is given up, not what waits."""
    settings = SETTINGS | {"workers": 1, "max_deliveries": 2, "queue_limit": 10}
    cluster = running_cluster(**settings)
    culprit = cluster.send(functions.log_and_sleep, diary.path, "culprit", 60)
    diary.wait_until_begun()
    ids = [cluster.send(functions.add, 1, n) for n in range(5)]

    def begins_again_or_is_given_up() -> bool:
        return crashes < diary.of("start")["culprit"] or is_given_up()

    def is_given_up() -> bool:
        return Task.objects.filter(id=culprit).exists()

    crashes = 0
    while not is_given_up() and crashes < 4:
        crashes += 1
        cluster.kill_everything()
        cluster = running_cluster(**settings, cluster_name=cluster.queue)
        wait_until(begins_again_or_is_given_up, within=LEASE + 8)
    rows = cluster.wait_for_all([culprit, *ids])
    assert not rows[0].success
    assert all(row.success for row in rows[1:])
    # The first start may go uncounted: nobody was left to count it.
    assert diary.of("start")["culprit"] in (2, 3)
