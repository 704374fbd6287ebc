"""Schedules fire in time, each slot once, and none harms another."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from django_q import clock
from django_q.models import Schedule
from django_q.tasks import schedule
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import stays, wait_until

SLOT = "tests.acceptance.functions.log_slot"
LOG = "tests.functions.log"


def soon(seconds: float = 1.0) -> object:
    return clock.now() + timedelta(seconds=seconds)


@pytest.mark.every_database
def test_schedule_fires_within_a_second_of_its_time(
    cluster: RunningCluster, diary: Diary
) -> None:
    row = schedule(LOG, diary.path, cluster=cluster.queue, next_run=soon(), name="once")
    wait_until(lambda: functions.words(diary.path) == ["ran"], within=5)
    assert row.next_run is not None
    assert (clock.now() - row.next_run).total_seconds() < 1.5
    assert not Schedule.objects.filter(id=row.id).exists()
    wait_until(cluster.queue_is_empty)


def test_schedule_repeats_and_moves_on(cluster: RunningCluster, diary: Diary) -> None:
    due = clock.now().replace(microsecond=0) - timedelta(seconds=150)
    row = schedule(
        SLOT,
        diary.path,
        cluster=cluster.queue,
        next_run=due,
        schedule_type=Schedule.MINUTES,
        minutes=1,
        repeats=2,
        intended_date_kwarg="slot",
        name="twice",
    )
    slots = [due + timedelta(minutes=n) for n in range(2)]
    wait_until(lambda: len(functions.words(diary.path)) == 2)
    assert stays(lambda: len(functions.words(diary.path)) == 2, during=1)
    assert sorted(functions.words(diary.path)) == [slot.isoformat() for slot in slots]
    row.refresh_from_db()
    assert row.repeats == 0
    assert row.success()
    row.delete()


@pytest.mark.every_database
def test_bad_schedule_harms_only_itself(cluster: RunningCluster, diary: Diary) -> None:
    due = clock.now() - timedelta(seconds=5)
    bad = {
        "arguments": {"func": LOG, "args": "open('x')"},
        "brackets": {"func": LOG, "args": "(" * 5000},
        "keywords": {"func": LOG, "kwargs": "{'a': }"},
        "cron": {"func": LOG, "schedule_type": "C", "cron": "61 * * * *"},
        "kind": {"func": LOG, "schedule_type": "??"},
    }
    facts = {"cluster": cluster.queue, "next_run": due}
    rows = [Schedule(name=name, **facts, **more) for name, more in bad.items()]
    good = Schedule(name="good", func=LOG, args=f"({diary.path!r}, 'good')", **facts)
    Schedule.objects.bulk_create([*rows, good])
    wait_until(lambda: functions.words(diary.path) == ["good"])
    named = Schedule.objects.filter(name__in=bad)
    wait_until(lambda: not named.filter(note__error__isnull=True).exists())
    assert all(row.error for row in named)
    told = r"ERROR.*schedule \[{}\]"
    assert stays(lambda: cluster.count(told.format("arguments")) == 1, during=1)
    assert all(cluster.count(told.format(name)) == 1 for name in bad)
    named.delete()


@pytest.mark.every_database
def test_two_clusters_fire_each_slot_once(
    running_cluster: Runner, new_cluster: Runner, diary: Diary
) -> None:
    """Half an hour was missed, in three schedules; two clusters catch up at once."""
    queue = f"two-{clock.now().timestamp():.0f}"
    due = clock.now().replace(microsecond=0) - timedelta(minutes=30, seconds=-20)
    for n in range(3):
        schedule(
            SLOT,
            diary.path,
            cluster=queue,
            next_run=due + timedelta(seconds=n),
            schedule_type=Schedule.MINUTES,
            minutes=1,
            intended_date_kwarg="slot",
            name=f"missed {n} {queue}",
        )
    both = [new_cluster(cluster_name=queue).start() for _ in range(2)]
    for cluster in both:
        cluster.wait_until_running()
    slots = [
        (due + timedelta(minutes=minute, seconds=n)).isoformat()
        for n in range(3)
        for minute in range(30)
    ]
    wait_until(lambda: len(set(functions.words(diary.path))) >= len(slots), within=30)
    wait_until(both[0].queue_is_empty)
    Schedule.objects.filter(cluster=queue).delete()
    seen = Counter(functions.words(diary.path))
    # The clock may have passed one more minute meanwhile.
    assert set(slots) <= set(seen)
    assert set(seen.values()) == {1}


def test_without_catching_up_a_schedule_runs_once(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(catch_up=False)
    due = clock.now() - timedelta(minutes=30, seconds=-20)
    row = schedule(
        LOG,
        diary.path,
        cluster=cluster.queue,
        next_run=due,
        schedule_type=Schedule.MINUTES,
        minutes=1,
    )
    wait_until(lambda: functions.words(diary.path) == ["ran"])
    assert stays(lambda: functions.words(diary.path) == ["ran"], during=1)
    row.refresh_from_db()
    assert row.next_run is not None
    assert row.next_run > clock.now() - timedelta(seconds=1)
    row.delete()


def test_cluster_with_the_scheduler_off_fires_nothing(
    running_cluster: Runner, diary: Diary
) -> None:
    cluster = running_cluster(scheduler=False)
    row = schedule(LOG, diary.path, cluster=cluster.queue, next_run=soon(-5))
    cluster.works()
    assert stays(lambda: functions.words(diary.path) == [], during=1)
    row.delete()
