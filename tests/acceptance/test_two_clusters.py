"""Two clusters on one queue: each task once, and one takes over for the other."""

from __future__ import annotations

from time import monotonic
from uuid import uuid4

import pytest

from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database


@pytest.fixture
def pair(new_cluster: Runner) -> list[RunningCluster]:
    """Two clusters of two workers on one queue, with short leases, on two hosts."""
    queue = f"pair-{uuid4().hex[:6]}"
    both = [new_cluster(cluster_name=queue, retry=2) for _ in range(2)]
    for number, cluster in enumerate(both):
        cluster.on_host(f"host{number}").start()
    return [cluster.wait_until_running() for cluster in both]


LEASE = 2


def test_each_task_runs_once_and_both_take_part(
    pair: list[RunningCluster], diary: Diary
) -> None:
    one, other = pair
    ids = one.send_many(200, functions.log_and_sleep, diary.path, 0.01)
    one.wait_for_all(ids)
    assert set(diary.of("start").values()) == {1}
    ran = set(harmful.pids(diary.path))
    assert ran & set(one.pids("worker"))
    assert ran & set(other.pids("worker"))


def test_task_longer_than_the_lease_runs_once(
    pair: list[RunningCluster], diary: Diary
) -> None:
    one, _ = pair
    ids = one.send_many(3, functions.log_and_sleep, diary.path, 2 * LEASE)
    rows = one.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert set(diary.of("start").values()) == {1}


def test_one_dies_for_good_and_the_other_takes_over(
    pair: list[RunningCluster], diary: Diary
) -> None:
    ids = [pair[0].send(functions.log_and_sleep, diary.path, "held", LEASE)]
    diary.wait_until_begun()
    one, other = busy_first(pair, diary)
    ids += one.send_many(40, functions.log_and_sleep, diary.path, 0.1)
    diary.wait_until_begun(6)
    one.kill_everything()
    died = monotonic()
    assert "held" not in diary.of("end"), "killed too late: it held nothing for sure"
    rows = other.wait_for_all(ids)
    assert monotonic() - died < LEASE + 5 + (40 * 0.1 + LEASE) / 2
    assert all(row.success for row in rows)
    assert diary.extra_ends() <= 2 * 2
    wait_until(lambda: other.says("WARNING rescued"))


def test_held_tasks_are_taken_over_within_the_lease_and_five_seconds(
    pair: list[RunningCluster], diary: Diary
) -> None:
    ids = pair[0].send_many(4, functions.log_and_sleep, diary.path, 1)
    diary.wait_until_begun(2)
    one, other = busy_first(pair, diary)
    begun = sum(one.has(pid) for pid in harmful.pids(diary.path))
    one.kill_everything()
    died = monotonic()
    wait_until(lambda: diary.of("start").total() >= 4 + begun, within=LEASE + 5)
    assert monotonic() - died > 0.5, "nobody may take what a living cluster could hold"
    rows = other.wait_for_all(ids)
    assert all(row.success for row in rows)


def busy_first(pair: list[RunningCluster], diary: Diary) -> list[RunningCluster]:
    """The one that began the first task comes first: either may have taken all."""
    busy = harmful.pids(diary.path)[0]
    return sorted(pair, key=lambda cluster: not cluster.has(busy))


def test_one_stops_and_the_other_goes_on(
    pair: list[RunningCluster], diary: Diary
) -> None:
    one, other = pair
    ids = one.send_many(60, functions.log_and_sleep, diary.path, 0.05)
    diary.wait_until_begun(6)
    assert one.stop() == 0
    other.wait_for_all(ids)
    assert set(diary.of("start").values()) == {1}


def test_paused_cluster_wakes_and_is_fenced(
    pair: list[RunningCluster], diary: Diary
) -> None:
    """A virtual machine is paused for longer than the lease; meanwhile the other works."""
    one, other = pair
    ids = one.send_many(8, functions.log_and_sleep, diary.path, 0.5)
    diary.wait_until_begun(4)
    with one.paused():
        rows = other.wait_for_all(ids)
    assert all(row.success for row in rows)
    wait_until(one.is_whole)
    one.works()
    again = other.wait_for_all(ids)
    assert all(row.success for row in again)
    # What it had in its hands may have run twice; nothing else, and no Failure came.
    assert diary.extra_ends() <= 2 * 2
