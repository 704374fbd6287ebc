"""Random kills under load, for a while: nothing is missing."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from time import monotonic, sleep

import pytest

from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.acceptance.test_survives_kills import announced
from tests.waiting import wait_until

SECONDS = float(os.environ.get("QTEST_SOAK", "12"))
KILLED = ("worker", "worker", "pusher", "monitor", "housekeeper")
SENTINEL_EVERY = 4.0
"""Seconds between two kills of the sentinel: five in ten would be a reason to give up."""


@pytest.mark.every_database
def test_random_kills_under_load_lose_nothing(
    running_cluster: Runner, diary: Diary
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    dice = random.Random(seed)
    cluster = running_cluster(retry=3, max_deliveries=1000)
    cluster.complaints = "CRITICAL.*(sentinel|parent gone)|Traceback"
    ids, kills = harm(cluster, diary, dice)
    rows = cluster.wait_for_all(ids, within=60)
    assert all(row.success for row in rows)
    assert set(diary.of("end")) == {f"w{n}" for n in range(len(ids))}
    assert diary.extra_ends() <= kills * 2 * 2
    assert diary.extra_ends() <= announced(cluster.log)
    wait_until(cluster.is_whole, within=20)
    cluster.works()
    assert cluster.stop() == 0


def harm(
    cluster: RunningCluster, diary: Diary, dice: random.Random
) -> tuple[list[str], int]:
    """Kill, freeze and wake processes while tasks come in; gives the tasks, and how
    many kills there were.
    """
    ids: list[str] = []
    kills = 0
    until = monotonic() + SECONDS
    next_harm, next_sentinel = 0.0, monotonic() + SENTINEL_EVERY / 2
    frozen: list[int] = []
    while monotonic() < until:
        while cluster.broker().queue_size() < 30:
            length = dice.choice([0, 0.001, 0.01, 0.05, 0.2])
            arguments = (diary.path, f"w{len(ids)}", length)
            ids.append(cluster.send(functions.log_and_sleep, *arguments))
        if monotonic() < next_harm:
            sleep(0.02)
            continue
        next_harm = monotonic() + dice.uniform(0.05, 0.6)
        wake(cluster, frozen)
        role = dice.choice(KILLED)
        if monotonic() >= next_sentinel:
            role, next_sentinel = "sentinel", monotonic() + SENTINEL_EVERY
        pid = dice.choice(cluster.pids(role))
        if cluster.has(pid):
            number = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
            cluster.send_signal(pid, number)
            kills += number == signal.SIGKILL
            frozen += [pid] if number == signal.SIGSTOP else []
    wake(cluster, frozen)
    return ids, kills


def wake(cluster: RunningCluster, frozen: list[int]) -> None:
    while frozen:
        pid = frozen.pop()
        with suppress(AssertionError):
            cluster.send_signal(pid, signal.SIGCONT)
