"""The database ends the connections of an idle cluster: a failover, a long night.

That of a busy one loses nothing is row 34 of the fault table, see tests/faults.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import OperationalError, connection

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


def sessions() -> set[int]:
    """The connections to the test's database, but for our own."""
    if connection.vendor not in SESSIONS:
        pytest.skip("SQLite has no server")
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS[connection.vendor][0])
        return {session for (session,) in cursor.fetchall()}


@pytest.fixture
def others() -> set[int]:
    """Connections that are there before the cluster: other threads of the tests."""
    return sessions()


@pytest.fixture
def cluster(others: set[int], running_cluster: Runner) -> RunningCluster:
    cluster = running_cluster()
    # The driver's own words, in the line that says what failed.
    cluster.complaints = (
        "(?:work|works|saved) again|can't use the broker|failed|wait for the"
    )
    return cluster


def end_sessions(others: set[int]) -> int:
    """End all connections of the cluster; gives their number."""
    ended = sessions() - others
    with connection.cursor() as cursor:
        for session in ended:
            with suppress(OperationalError):  # It left by itself.
                cursor.execute(SESSIONS[connection.vendor][1].format(session))
    return len(ended)


@pytest.mark.every_database
def test_idle_cluster_whose_connections_ended_goes_on(
    cluster: RunningCluster, others: set[int], diary: Diary
) -> None:
    cluster.works()
    assert end_sessions(others) >= 2
    cluster.works()
    schedule(functions.log, diary.path, cluster=cluster.queue, next_run=soon())
    wait_until(lambda: functions.words(diary.path) == ["ran"], within=8)
    assert cluster.stop() == 0
