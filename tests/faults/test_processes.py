"""Rows 1 to 12: processes and machines that die or stand still."""

from __future__ import annotations

import signal
from functools import partial
from time import monotonic
from typing import Any

import psutil
import pytest

from django_q.models import Task
from tests.acceptance.harness import RunningCluster
from tests.faults.bench import BOUND, WORKERS, Bench
from tests.faults.places import LEASE
from tests.faults.tasks import work
from tests.faults.truth import in_hand, overtaken, paused_at_work, records, unsaved
from tests.waiting import wait_until

row = pytest.mark.row

LONG_LEASE = 30
FEW_LONG_ONES: dict[str, Any] = {"count": 16, "seconds": 0.5, "rate": 50.0}
"""When the fault comes, at least two of them run, and no backlog is to be worked off."""


def kill_with_unsaved(bench: Bench, cluster: RunningCluster, *others: str) -> set[str]:
    """Kill the monitor while results wait for it, and all of some other roles with it;
    gives the words of what had ended and was not saved.
    """
    monitor = cluster.kill("monitor", signal.SIGSTOP)
    before = set(bench.ended())
    wait_until(lambda: len(set(bench.ended()) - before) >= WORKERS, every=0.002)
    doomed = [monitor, *(pid for role in others for pid in cluster.pids(role))]
    for pid in doomed:
        cluster.send_signal(pid, signal.SIGSTOP)
    waiting = unsaved(bench)
    for pid in doomed:
        cluster.send_signal(pid, signal.SIGKILL)
    wait_until(lambda: not cluster.has(monitor))
    return waiting


def kill_at_work(bench: Bench, cluster: RunningCluster) -> tuple[int, str]:
    """Kill a worker between the beginning and the end of a task; gives both."""
    while True:
        at_work = wait_until(lambda: in_hand(bench, cluster))
        pid = next(iter(at_work))
        cluster.send_signal(pid, signal.SIGSTOP)
        wait_until(partial(stands_still, psutil.Process(pid)))
        word = in_hand(bench, cluster).get(pid)
        cluster.send_signal(pid, signal.SIGKILL if word else signal.SIGCONT)
        if word:
            return pid, word


def assert_idle_one_is_replaced(bench: Bench, role: str) -> None:
    """Kill the only process of a role, which has nothing to do, and see work go on."""
    cluster = bench.start()
    pid = cluster.kill(role)
    bench.wait_for_work(cluster, within=3)
    with bench.load(count=20):
        pass
    assert bench.count().twice == 0
    assert cluster.says(rf"ERROR {role} \S+ \({pid}\) died by signal 9.*; replaced")


def stands_still(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


@pytest.mark.core
@row(1, "worker killed in a task")
def test_row_01_worker_killed_in_a_task(bench: Bench) -> None:
    cluster = bench.start()
    with bench.load():
        pid, word = kill_at_work(bench, cluster)
        bench.wait_for_recovery(within=3)
        wait_until(cluster.is_whole)
    assert bench.count().twice <= WORKERS
    assert (bench.started()[word], bench.ended()[word]) == (2, 1)
    said = rf"ERROR worker \S+ \({pid}\) died by signal 9 .* while running \S+work \["
    assert cluster.says(said)


@row(2, "idle workers killed")
def test_row_02_idle_workers_killed(bench: Bench) -> None:
    cluster = bench.start()
    for worker in cluster.pids("worker"):
        cluster.send_signal(worker, signal.SIGKILL)
    with bench.load(count=20):
        bench.wait_for_recovery(within=3)
    assert bench.count().twice == 0
    assert cluster.count(r"ERROR.*worker .* died by signal 9") == WORKERS


@row(3, "pusher killed in load")
def test_row_03_pusher_killed_in_load(bench: Bench) -> None:
    cluster = bench.start()
    with bench.load():
        cluster.kill("pusher")
        bench.wait_for_recovery(within=3)
    assert bench.count().twice <= BOUND
    assert cluster.says("ERROR pusher.*(died|ended).*; replaced")


@row(4, "pusher killed when idle")
def test_row_04_pusher_killed_when_idle(bench: Bench) -> None:
    assert_idle_one_is_replaced(bench, "pusher")


@row(5, "monitor killed in load")
def test_row_05_monitor_killed_in_load(bench: Bench) -> None:
    """First it holds what the workers have as well; then they die, too."""
    cluster = bench.start()
    with bench.load():
        kill_with_unsaved(bench, cluster)
        bench.wait_for_recovery(within=3)
        wait_until(cluster.is_whole)
        assert bench.twice() == 0
        waiting = kill_with_unsaved(bench, cluster, "worker")
        bench.wait_for_recovery(within=3)
    assert bench.count().twice <= min(len(waiting), BOUND)
    text = r"ERROR monitor .* died by signal 9 .* with ([1-9]\d*) unsaved results"
    assert cluster.count(text) == 2


@row(6, "monitor killed when idle")
def test_row_06_monitor_killed_when_idle(bench: Bench) -> None:
    assert_idle_one_is_replaced(bench, "monitor")


@row(7, "sentinel killed")
def test_row_07_sentinel_killed(bench: Bench) -> None:
    cluster = bench.start()
    cluster.complaints = "CRITICAL.*(sentinel ended|parent gone)"
    with bench.load():
        former = set(cluster.members()) - {psutil.Process(cluster.pid)}
        cluster.kill("sentinel")
        died = monotonic()
        wait_until(lambda: not former & set(cluster.members()), within=5)
        bench.wait_for_recovery(within=LEASE + 5, since=died)
        wait_until(cluster.is_whole)
    assert bench.count().twice <= BOUND
    assert cluster.says(r"CRITICAL .*sentinel ended with -9; restarting")


@row(8, "root killed")
def test_row_08_root_killed(bench: Bench) -> None:
    first = bench.start()
    with bench.load():
        first.terminate(signal.SIGKILL)
        died = monotonic()
        first.process.wait(5)
        first.wait_until_gone(within=5)
        bench.start()
        bench.wait_for_recovery(within=LEASE + 5, since=died)
    assert bench.count().twice <= BOUND
    assert first.says("CRITICAL Process-1: parent gone; stopping")


@row(9, "machine crash")
def test_row_09_machine_crash(bench: Bench) -> None:
    first = bench.start()
    with bench.load():
        first.kill_everything()
        died = monotonic()
        second = bench.start(host="another", wait=False)
        bench.wait_for_recovery(within=LEASE + 5, since=died)
    assert bench.count().twice <= BOUND
    if bench.place.keeps_lists:
        assert second.says("WARNING.*rescued")


@pytest.mark.core
@row(9, "cluster killed, started again on its host")
def test_row_09_cluster_killed_and_started_again_on_its_host(bench: Bench) -> None:
    # Where the queue keeps no lists there is only the visibility timeout.
    lease = LONG_LEASE if bench.place.keeps_lists else LEASE
    first = bench.start(retry=lease)
    with bench.load(**FEW_LONG_ONES):
        first.kill_everything()
        second = bench.start(retry=lease)
        bench.wait_for_recovery(within=3)
    assert bench.count().twice <= BOUND
    if bench.place.keeps_lists:
        assert second.says(r"WARNING rescued \d+ tasks of dead cluster")


@row(9, "cluster killed, another one lives on its host")
def test_row_09_cluster_killed_while_another_one_lives_on_its_host(
    bench: Bench,
) -> None:
    lease = LONG_LEASE if bench.place.keeps_lists else LEASE
    first, second = bench.start(retry=lease), bench.start(retry=lease)
    with bench.load(**FEW_LONG_ONES):
        first.kill_everything()
        bench.wait_for_recovery(within=5)
    assert bench.count().twice <= BOUND
    if bench.place.keeps_lists:
        assert second.says(r"WARNING rescued \d+ tasks of dead cluster")


@row(10, "one of two clusters dies for good")
def test_row_10_one_of_two_clusters_dies_for_good(bench: Bench) -> None:
    first, second = bench.start(host="its own"), bench.start()
    with bench.load(seconds=0.2, rate=8):
        with paused_at_work(bench, first, workers=1) as held:
            first.kill_everything()
        bench.wait_for_recovery(within=LEASE + 5)
    assert bench.count().twice <= BOUND
    ids, said = bench.acknowledged(), bench.announced()
    rows = Task.objects.in_bulk([ids[word] for word in held])
    assert all(said[row.name] for row in rows.values())
    if bench.place.keeps_lists:
        assert all(second.says(f"WARNING rescued task {row} from ") for row in rows)


@row(11, "cluster paused beyond its lease")
def test_row_11_cluster_paused_beyond_its_lease(bench: Bench) -> None:
    """What it has in hand fails when it wakes, and has succeeded elsewhere by then."""
    first, second = bench.start(), bench.start()
    for number in range(16):
        bench.send(f"w{number}", 0.3, task="fail_if_late")
    with paused_at_work(bench, first) as held:
        late = set(in_hand(bench, first).values())
        bench.wait_for_recovery(within=LEASE + 5)
        wait_until(lambda: not unsaved(bench))
        others = records(bench)
    wait_until(lambda: set(bench.noted("fail:")) == late)
    let_it_go_on_alone(bench, first, second)
    assert late <= held
    assert bench.count().twice <= len(held)
    assert all(record["success"] for record in others.values())
    assert records(bench, others) == others
    assert not overtaken(bench, first)
    if bench.place.keeps_lists:
        discarded = "WARNING result of .* came late: its lease was lost; discarded"
        assert first.count(discarded) == len(late)


@pytest.mark.on("redis", "orm-pg", "orm-mariadb", "sqs")
@row(11, "one of two clusters cut off beyond its lease")
def test_row_11_one_of_two_clusters_cut_off_beyond_its_lease(bench: Bench) -> None:
    with bench.place.apart() as apart:
        first, second = bench.start(place=apart), bench.start()
        assert apart.queue_network is not None
        with bench.load(seconds=0.2, rate=8):
            wait_until(lambda: in_hand(bench, first))
            apart.queue_network.cut()
            bench.wait_for_recovery(within=LEASE + 5)
            others = records(bench)
            apart.queue_network.mend()
            wait_until(first.is_whole)
        let_it_go_on_alone(bench, first, second)
    assert bench.count().twice <= BOUND
    assert records(bench, others) == others
    assert not overtaken(bench, first)


def let_it_go_on_alone(
    bench: Bench, first: RunningCluster, second: RunningCluster
) -> None:
    """What the first cluster has to say is said, and it works as before."""
    wait_until(first.is_whole)
    assert second.stop() == 0
    first.works(within=5 + bench.place.slack)
    assert first.stop() == 0


@row(12, "worker hangs")
def test_row_12_worker_hangs(bench: Bench) -> None:
    cluster = bench.start(timeout=1)
    with bench.load(rate=8):
        task_id = cluster.send(work, bench.log, "hung", 0.6)
        wait_until(lambda: "hung" in in_hand(bench, cluster).values())
        [pid] = [p for p, word in in_hand(bench, cluster).items() if word == "hung"]
        cluster.send_signal(pid, signal.SIGSTOP)
        hung = monotonic()
        bench.wait_for_recovery(within=3)
        rows = Task.objects.filter(id=task_id)
        wait_until(rows.exists, within=1 + 6 - (monotonic() - hung))
        bench.figures.recovery = round(monotonic() - hung, 2)
        wait_until(cluster.is_whole)
    assert bench.count().twice == 0
    assert [row.success for row in rows.all()] == [False]
    assert "hung" not in bench.ended()
    assert cluster.says(r"ERROR \S+work \[.*\] on .* exceeded 6\.\d s; worker killed")
