"""Rows 43 to 46, 51 and 52: schedules, and clocks."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final

import pytest
from django.db import connection

from django_q import clock
from django_q.models import Schedule, Task
from tests.faults.bench import BOUND, SECONDS, Bench
from tests.faults.places import LEASE
from tests.faults.tasks import note, word_of
from tests.faults.wall_clock import WallClock, has_compiler
from tests.waiting import stays, wait_until

row = pytest.mark.row

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
WORK: Final = "tests.faults.tasks.work_slot"


def plan(bench: Bench, name: str, due: datetime, **columns: Any) -> Schedule:
    """A schedule of the bench, whose tasks say which slot they are for."""
    facts = {"func": WORK, "args": f"({bench.log!r}, {name!r})"}
    facts |= {"cluster": bench.queue, "intended_date_kwarg": "slot"}
    columns.setdefault("schedule_type", Schedule.ONCE)
    return Schedule(name=name, next_run=due, **facts | columns)


def slots(name: str, first: datetime, count: int, step: timedelta) -> set[str]:
    """The words of so many slots."""
    moments = (first + number * step for number in range(count))
    return {word_of(name, moment.isoformat()) for moment in moments}


def now() -> datetime:
    return clock.now().replace(microsecond=0)


def wait_for_slots(bench: Bench, wanted: set[str], within: float) -> None:
    """Their tasks have run to the end; `within` as the fault table says it."""
    begun = monotonic()

    def all_have_run() -> bool:
        return wanted <= set(bench.ended())

    wait_until(all_have_run, within + bench.place.slack)
    took = round(monotonic() - begun, 2)
    bench.figures.recovery = max(bench.figures.recovery or 0.0, took)


def count(bench: Bench, wanted: set[str], *, in_silence: int = 0) -> None:
    """As for tasks that somebody queued: each slot is one, under one id."""
    wait_until(lambda: rows_of(bench).keys() >= wanted, within=20)
    rows = rows_of(bench)
    for word in wanted:
        [task_id] = rows[word]
        note(bench.acknowledgements, f"{task_id}:{word}")
    figures = bench.count(in_silence=in_silence)
    assert set(bench.ended()) == wanted | others(bench)
    assert figures.acknowledged == len(wanted | others(bench))


def others(bench: Bench) -> set[str]:
    """The words of tasks that are no schedule's."""
    return {word for word in bench.acknowledged() if "@" not in word}


def rows_of(bench: Bench) -> dict[str, list[str]]:
    """Word of a slot -> the ids of its tasks that have a row."""
    found: dict[str, list[str]] = {}
    connection.close_if_unusable_or_obsolete()
    for task in Task.objects.filter(cluster=bench.queue, func=WORK):
        word = word_of(str(task.group), task.kwargs["slot"])
        found.setdefault(word, []).append(task.id)
    return found


def said(bench: Bench, pattern: str) -> list[str]:
    """Lines of the logs of all clusters that say it."""
    return [line for cluster in bench.clusters for line in cluster.lines(pattern)]


@row(43, "three clusters, same schedules")
def test_row_43_three_clusters_same_schedules(bench: Bench) -> None:
    for _ in range(3):
        bench.start(wait=False)
    for cluster in bench.clusters:
        cluster.wait_until_running()
    due = now() + timedelta(seconds=2)
    late = due - 20 * MINUTE
    names = [f"punctual {number}" for number in range(30)]
    plans = [plan(bench, name.replace(" ", ""), due) for name in names]
    facts = {"schedule_type": Schedule.MINUTES, "minutes": 1, "repeats": 20}
    plans += [plan(bench, f"late{n}", late, **facts) for n in range(3)]
    Schedule.objects.bulk_create(plans)
    wanted = {word_of(str(p.name), due.isoformat()) for p in plans[:30]}
    begun = monotonic() + (due - clock.now()).total_seconds()
    wait_until(lambda: wanted & set(bench.ended()), within=7)
    first = monotonic() - begun
    for number in range(3):
        wanted |= slots(f"late{number}", late, 20, MINUTE)
    wait_for_slots(bench, wanted, within=20)
    bench.figures.recovery = round(max(first, 0.0), 2)
    count(bench, wanted)
    assert first <= 5
    assert bench.figures.twice == 0
    created = said(bench, r"INFO.*created task .* from schedule")
    assert len(created) == len(wanted)


@pytest.mark.core
@row(44, "crash while firing 300 schedules")
def test_row_44_crash_while_firing_300_schedules(bench: Bench) -> None:
    first = bench.start()
    due = now() - MINUTE
    # The results of shorter ones are saved in batches: more of them would run twice.
    length = {"kwargs": f"seconds={SECONDS}"}
    plans = [plan(bench, f"s{number}", due, **length) for number in range(300)]
    Schedule.objects.bulk_create(plans)
    mine = Schedule.objects.filter(cluster=bench.queue)
    wait_until(lambda: mine.count() < 290)
    first.kill_everything()
    left = {word_of(str(p.name), due.isoformat()) for p in mine}
    assert left
    second = bench.start()
    wanted = {word_of(str(p.name), due.isoformat()) for p in plans}
    wait_for_slots(bench, wanted - left, within=LEASE + 5)
    # It may take a while until a busy machine has fired all others.
    wait_until(lambda: wanted <= set(bench.ended()), within=120)
    # SQS knows no ids: the slot that was sent when the cluster died, and not yet moved on,
    # may be sent again and run before its first run has ended, and nobody knows.
    count(bench, wanted, in_silence=1 if bench.place.kind == "sqs" else 0)
    assert bench.figures.twice <= BOUND
    assert not mine.all().exists()
    assert second.says("created task .* from schedule")


@row(45, "downtime, catch_up on / off")
@pytest.mark.parametrize("catch_up", [True, False])
def test_row_45_downtime(bench: Bench, catch_up: bool) -> None:
    first = bench.start()
    due = now() - 25 * MINUTE
    facts = {"schedule_type": Schedule.MINUTES, "minutes": 5}
    first.stop()
    Schedule.objects.bulk_create([plan(bench, "missed", due, **facts)])
    second = bench.start(catch_up=catch_up)
    wanted = slots("missed", due, 6 if catch_up else 1, 5 * MINUTE)
    wait_for_slots(bench, wanted, within=10)
    assert stays(lambda: set(bench.ended()) == wanted, during=1)
    count(bench, wanted)
    assert bench.figures.twice == 0
    ending = "" if catch_up else " are left out"
    assert second.says(rf"schedule \[missed]: 5 missed slots{ending}")
    after = Schedule.objects.get(cluster=bench.queue).next_run
    assert after == due + 30 * MINUTE


@row(46, "schedules that do not parse")
def test_row_46_schedules_that_do_not_parse(bench: Bench) -> None:
    cluster = bench.start()
    due = now()
    bad = {
        "arguments": {"args": "open('x')"},
        "brackets": {"args": "(" * 5000},
        "keywords": {"kwargs": "{'a': }"},
        "cron": {"schedule_type": Schedule.CRON, "cron": "61 * * * *"},
        "kind": {"schedule_type": "??"},
    }
    plans = [plan(bench, name, due, **columns) for name, columns in bad.items()]
    good = plan(bench, "good", due + timedelta(seconds=1))
    Schedule.objects.bulk_create([*plans, good])
    wanted = {word_of("good", (due + timedelta(seconds=1)).isoformat())}
    wait_for_slots(bench, wanted, within=5)
    named = Schedule.objects.filter(name__in=bad)
    wait_until(lambda: not named.filter(note__error__isnull=True).exists())
    told = r"ERROR.*schedule \[{}\]"
    assert stays(lambda: all(cluster.count(told.format(n)) == 1 for n in bad), 1)
    # Another error is told again; what has been mended runs at once.
    Schedule.objects.filter(name="keywords").update(kwargs="open('x')")
    wait_until(lambda: cluster.count(told.format("keywords")) == 2)
    named.exclude(name="arguments").delete()
    parsed = f"({bench.log!r}, 'arguments')"
    Schedule.objects.filter(name="arguments").update(args=parsed)
    wanted.add(word_of("arguments", due.isoformat()))
    wait_for_slots(bench, wanted, within=5)
    count(bench, wanted)
    assert cluster.says(r"INFO.*schedule \[arguments] works again")


@pytest.mark.skipif(not has_compiler(), reason="sudo apt install build-essential")
@row(51, "wall clock stepped by +-1 h")
def test_row_51_wall_clock_stepped(bench: Bench) -> None:
    wall = WallClock(bench.folder)
    bench.environment |= wall.environment
    for _ in range(2):
        bench.start(wait=False, timeout=3 * LEASE)
    for cluster in bench.clusters:
        cluster.wait_until_running()
    due = now() + HOUR / 2
    Schedule.objects.bulk_create(
        [plan(bench, "hourly", due, schedule_type=Schedule.HOURLY)]
    )
    with bench.load():
        send_long(bench, "forth")
        wall.set(3600.0)
        bench.wait_for_recovery(within=3 * LEASE)
    # In SQLite what waits is due by this clock: it would wait for an hour.
    is_due_by_it = bench.place.kind == "orm-sqlite"
    bench.wait_for_recovery(within=3 * LEASE)
    with nullcontext() if is_due_by_it else bench.load():
        send_long(bench, "back")
        wall.set(0.0)
        bench.wait_for_recovery(within=3 * LEASE)
    with bench.load(count=20):
        bench.wait_for_recovery(within=3)
    has_own_clock = connection.vendor != "sqlite"
    count(bench, set() if has_own_clock else slots("hourly", due, 1, HOUR))
    assert bench.figures.twice == 0
    assert said(bench, "rescued|exceeded|came late|lease lost") == []
    for step in (r"\+3600", "-3600"):
        told = rf"WARNING.*clock of this machine was moved by {step} s"
        assert len(said(bench, told)) == len(bench.clusters)


def send_long(bench: Bench, word: str) -> None:
    """A task that takes longer than a lease; it has begun."""
    cluster = bench.clusters[0]
    task_id = cluster.send("tests.faults.tasks.work", bench.log, word, 1.5 * LEASE)
    note(bench.acknowledgements, f"{task_id}:{word}")
    wait_until(lambda: word in bench.started())


@row(52, "DST change")
def test_row_52_change_of_the_clocks(bench: Bench) -> None:
    """Those of this year are over: a cluster that was away makes up for them."""
    bench.start(time_zone="Europe/Berlin", catch_up=True)
    spring = datetime(2026, 3, 28, 1, 30, tzinfo=UTC)
    autumn = datetime(2026, 10, 24, 0, 30, tzinfo=UTC)
    daily = {"schedule_type": Schedule.DAILY, "repeats": 4}
    plans = [
        plan(bench, "spring", spring, **daily),
        plan(bench, "autumn", autumn, **daily),
    ]
    Schedule.objects.bulk_create(plans)
    wanted = words("spring", "2026-03-28T01:30 2026-03-29T01:00 2026-03-30T00:30")
    wanted |= words("spring", "2026-03-31T00:30 ")
    wanted |= words("autumn", "2026-10-24T00:30 2026-10-25T00:30 2026-10-26T01:30")
    wanted |= words("autumn", "2026-10-27T01:30")
    wait_for_slots(bench, wanted, within=10)
    count(bench, wanted)
    assert bench.figures.twice == 0


def words(name: str, moments: str) -> set[str]:
    return {word_of(name, f"{moment}:00+00:00") for moment in moments.split()}
