"""The database ends the connections of a cluster: a failover, a restart, a long night."""

from __future__ import annotations

import pytest
from django.db import connection

from django_q.tasks import schedule
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.acceptance.test_schedules import soon
from tests.waiting import wait_until

POSTGRES = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
MARIADB = """
    SELECT id FROM information_schema.processlist
    WHERE db = DATABASE() AND id <> CONNECTION_ID()
"""
SESSIONS = {
    "postgresql": (POSTGRES, "SELECT pg_terminate_backend({})"),
    "mysql": (MARIADB, "KILL {}"),
}
"""How to list the sessions of others, and how to end one."""


def end_sessions() -> int:
    """End all connections to the test's database but our own; gives their number."""
    if connection.vendor not in SESSIONS:
        pytest.skip("SQLite has no server")
    listing, ending = SESSIONS[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(listing)
        sessions = [session for (session,) in cursor.fetchall()]
        for session in sessions:
            cursor.execute(ending.format(session))
    return len(sessions)


@pytest.fixture
def cluster(running_cluster: Runner) -> RunningCluster:
    cluster = running_cluster()
    # The driver's own words, in the line that says what failed.
    cluster.complaints = (
        "works? again|can't use the broker|failed|wait for the database"
    )
    return cluster


@pytest.mark.every_database
def test_idle_cluster_whose_connections_ended_goes_on(
    cluster: RunningCluster, diary: Diary
) -> None:
    cluster.works()
    assert end_sessions() >= 2
    cluster.works()
    schedule(functions.log, diary.path, cluster=cluster.queue, next_run=soon())
    wait_until(lambda: functions.words(diary.path) == ["ran"], within=8)
    assert cluster.stop() == 0


@pytest.mark.every_database
def test_busy_cluster_whose_connections_end_loses_nothing(
    cluster: RunningCluster,
) -> None:
    ids = [cluster.send(functions.sleep, 0.02) for _ in range(200)]
    ended = 0
    for place in (20, 60, 100):
        cluster.wait_for(ids[place])
        ended += end_sessions()
    assert ended >= 2
    rows = cluster.wait_for_all(ids)
    assert {row.success for row in rows} == {True}
    wait_until(cluster.queue_is_empty)
