"""The summary that qinfo prints."""

from __future__ import annotations

import json

import time_machine

from django_q import __version__
from django_q.dashboard.summary import as_json, describe, find_alerts
from tests.unit.dashboard.figures import NOON, queue, snapshot, stat, tasks


def test_summary_has_every_figure_at_its_place() -> None:
    first = stat(1, reincarnations=2)
    second = stat(2, busy=0, workers=[5, 6])

    with time_machine.travel(NOON):
        lines = list(describe(snapshot(first, second)))

    assert lines[0] == f"-- Shop {__version__} on ORM default --"
    assert [" ".join(line.split()) for line in lines[2:7]] == [
        "Clusters 2 Workers 6 Restarts 2",
        "Queued 12 Successes 1,204 Failures 23",
        "Schedules 4 Tasks/hour 41.54 Avg time 0.21 s",
        "Running 3 Locked 3 Next run Mon 12:00",
        "Succeeded 24h 997 Failed 24h 3 Throughput 412/min",
    ]
    assert [line.split() for line in lines[8:10]] == [
        ["QUEUE", "CLUSTERS", "WAITING", "LOCKED"],
        ["shop", "2", "12", "3"],
    ]
    assert len(lines) == 10


def test_summary_fits_80_columns() -> None:
    big = tasks(succeeded_24h=10**6, failed_24h=10**5, last_minute=12345)

    for line in describe(snapshot(stat(), tasks=big)):
        assert len(line) <= 80


def test_figures_that_nobody_knows_are_dashes() -> None:
    unknown = snapshot(
        stat(busy=None, queue=None), tasks=tasks(average=None), next_run=None
    )

    lines = list(describe(unknown))

    assert lines[4].split()[-1] == "-"
    assert lines[5].split()[1] == "-"
    assert lines[5].split()[-1] == "-"


def test_queue_without_a_cluster_is_said_twice() -> None:
    lines = list(describe(snapshot(stat(), queues=(queue("mail"),))))

    assert lines[-3].endswith("  no cluster")
    start = "python manage.py qcluster --name mail"
    assert lines[-1] == f"! mail has no cluster. Start one: {start}"


def test_no_alert_while_a_cluster_does_not_tell_its_queue() -> None:
    old = stat(queue=None)

    assert find_alerts(snapshot(old, queues=(queue("mail"),))) == []


def test_hostile_names_are_shown_as_text() -> None:
    evil = "\x1b[2J\nfake"
    shown = snapshot(
        stat(queue=evil), name=evil, broker=evil, queues=(queue(evil), queue("b"))
    )

    text = "\n".join(describe(shown))

    assert "\x1b" not in text
    assert "\nfake" not in text
    assert "\x1b" not in as_json(shown)


def test_json_says_null_for_what_is_not_measured() -> None:
    figures = json.loads(as_json(snapshot(stat())))

    assert figures["totals"]["wait_p95_s"] is None
    assert figures["totals"]["waiting"] == 12
    assert figures["clusters"][0]["id"] == "shop-orion-4001"
    assert figures["clusters"][0]["state"] == "working"
    assert figures["clusters"][0]["rss_bytes"] is None
    assert figures["queues"][0]["clusters"] == ["shop-orion-4001"]
