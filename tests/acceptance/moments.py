"""Moments of a cluster's start, at which it can be asked to stop."""

from __future__ import annotations

from typing import Final

from tests.acceptance.harness import RunningCluster


def is_just_born(cluster: RunningCluster) -> bool:
    return bool(cluster.members())


def has_said_starting(cluster: RunningCluster) -> bool:
    return cluster.says("starting")


def has_some_children(cluster: RunningCluster) -> bool:
    return len(cluster.members()) >= 4


def has_the_first_worker(cluster: RunningCluster) -> bool:
    return cluster.says("ready for work")


MOMENTS: Final = [
    is_just_born,
    has_said_starting,
    has_some_children,
    has_the_first_worker,
]
