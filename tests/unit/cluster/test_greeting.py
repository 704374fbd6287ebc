"""What a cluster says when it starts."""

from __future__ import annotations

import platform
from datetime import timedelta
from typing import Any

import django
import pytest
from django.db import connection

import django_q
from django_q import clock
from django_q.brokers import Broker, get_broker
from django_q.brokers.memory import Memory
from django_q.cluster.greeting import (
    broker_line,
    duration,
    greeting,
    schedules_line,
    shown,
    versions,
    workers_line,
)
from django_q.models import Schedule
from django_q.options import Options


def test_versions() -> None:
    ours = f"django-q {django_q.__version__}, Django {django.get_version()}"
    assert versions() == f"{ours}, Python {platform.python_version()}"


def test_workers_and_limits() -> None:
    options = Options(workers=4, recycle=500, timeout=None, retry=60)
    limits = "timeout none   retry 60 s, renewed while running"
    shown = f"{'4, recycled after 500 tasks':<37}"
    assert workers_line(options, Memory()) == f"  workers   {shown} {limits}"


def test_workers_with_many_tasks() -> None:
    options = Options(workers=2, concurrency=8, recycle=500)
    line = workers_line(options, Memory())
    assert line.startswith("  workers   2 with 8 tasks, recycled after 500 tasks ")


def test_workers_that_are_kept() -> None:
    options = Options(workers=2, recycle=-1, timeout=1.5, retry=90.5)
    line = workers_line(options, Memory())
    assert line.startswith("  workers   2, kept   ")
    assert line.endswith(" timeout 1.5 s   retry 90.5 s, renewed while running")


@pytest.mark.parametrize(
    ("has_receipts", "end"),
    [(True, "retry 60 s, then a task runs again"), (False, "retry 60 s")],
)
def test_broker_that_cannot_renew(has_receipts: bool, end: str) -> None:
    broker = Broker("own")
    broker.supports_receipts = has_receipts
    assert workers_line(Options(workers=1), broker).endswith(end)


@pytest.mark.django_db
def test_broker_in_the_database() -> None:
    engine = connection.settings_dict["ENGINE"].rpartition(".")[-1]
    name = f'database "default" ({engine})'
    line = broker_line(Options(name="shop"), get_broker())
    assert line == f"  broker    {name:<37} queue   shop"


def test_other_broker_and_queue_with_a_strange_name(q_settings: Any) -> None:
    q_settings(broker_class="django_q.brokers.memory.Memory")
    broker = get_broker("strange")
    line = broker_line(Options(cluster_name="a\nb"), broker)
    assert line == f"  broker    {broker.info():<37} queue   a\\nb"


@pytest.mark.django_db
def test_no_schedules() -> None:
    assert schedules_line(Options()) == "  schedules 0"


@pytest.mark.django_db
def test_soonest_schedule_is_named() -> None:
    soon = clock.now() + timedelta(minutes=5, seconds=0.5)
    for name, moment in (("later", soon + timedelta(days=3)), ("cleanup", soon)):
        Schedule.objects.create(func="a.b", name=name, next_run=moment)
    start = f'  schedules 2, next "cleanup" at {shown(soon)} (in '
    line = schedules_line(Options())
    assert line in {f"{start}5 min 00 s)", f"{start}4 min 59 s)"}


@pytest.mark.django_db
def test_schedule_without_a_name_is_known_by_its_function() -> None:
    past = clock.now() - timedelta(hours=1)
    Schedule.objects.create(func="shop.tasks.send", next_run=past)
    assert 'next "shop.tasks.send" at ' in schedules_line(Options())
    assert schedules_line(Options()).endswith("(in 0 s)")


@pytest.mark.django_db
def test_schedules_that_are_over_or_of_another_cluster_do_not_count() -> None:
    Schedule.objects.create(func="a.b", repeats=0, next_run=clock.now())
    Schedule.objects.create(func="a.b", cluster="other", next_run=clock.now())
    assert schedules_line(Options()) == "  schedules 0"


@pytest.mark.django_db
def test_a_cluster_without_scheduler_says_nothing_of_schedules() -> None:
    assert len(greeting(Options(scheduler=True), get_broker())) == 3
    assert len(greeting(Options(scheduler=False), get_broker())) == 2


def test_moment_of_another_day_has_its_date() -> None:
    moment = clock.now() + timedelta(days=3)
    assert shown(moment) == f"{clock.localtime(moment):%Y-%m-%d %H:%M}"


def test_moments_without_zones(settings: Any) -> None:
    settings.USE_TZ = False
    moment = clock.now() + timedelta(days=3)
    assert shown(moment) == f"{moment:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (41, "41 s"),
        (60, "1 min 00 s"),
        (140, "2 min 20 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (11_100, "3 h 05 min"),
        (86_400, "1 d 00 h"),
        (4 * 86_400 + 7_300, "4 d 02 h"),
    ],
)
def test_durations(seconds: int, text: str) -> None:
    assert duration(seconds) == text
