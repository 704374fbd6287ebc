"""Snapshots for the tests of what shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django_q.dashboard.snapshot import QueueFigures, Snapshot, TaskFigures
from django_q.status import Stat

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def stat(number: int = 1, **vitals: Any) -> Stat:
    given: dict[str, Any] = {
        "host": "orion",
        "name": "shop",
        "queue": "shop",
        "status": "Working",
        "workers": [1, 2, 3, 4],
        "busy": 3,
    }
    cluster_id = UUID(int=0xABCD0000 + number)
    return Stat.of(cluster_id=cluster_id, pid=4000 + number, **(given | vitals))


def tasks(**figures: Any) -> TaskFigures:
    given: dict[str, Any] = {
        "successes": 1204,
        "failures": 23,
        "succeeded_24h": 997,
        "failed_24h": 3,
        "last_minute": 412,
        "average": timedelta(seconds=0.21),
    }
    return TaskFigures(**(given | figures))


def queue(
    name: str = "shop", *clusters: Stat, waiting: int = 12, locked: int = 3
) -> QueueFigures:
    return QueueFigures(name=name, waiting=waiting, locked=locked, clusters=clusters)


def snapshot(*clusters: Stat, **figures: Any) -> Snapshot:
    given: dict[str, Any] = {
        "at": NOON,
        "name": "shop",
        "broker": "ORM default",
        "broker_kind": "orm",
        "latency": 0.0009,
        "queues": (queue("shop", *clusters),),
        "tasks": tasks(),
        "schedules": 4,
        "next_run": NOON + timedelta(days=2),
    }
    return Snapshot(clusters=clusters, **(given | figures))
