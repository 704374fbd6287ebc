"""Bad functions, arguments, results, errors and packages: a clear row or message, and
the cluster goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core import signing

from django_q import clock
from django_q.exceptions import TaskNotSerializable
from django_q.models import OrmQ, Success, Task
from django_q.signing import PickleSerializer, SignedPackage
from tests import functions
from tests.acceptance import functions as harmful
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary, RunningCluster
from tests.waiting import wait_until

CLUSTER = {"max_deliveries": 2, "timeout": 20}
HERE = "tests.acceptance.functions"


@pytest.fixture
def workers(cluster: RunningCluster) -> list[int]:
    """The workers before the test."""
    wait_until(cluster.is_whole)
    return cluster.pids("worker")


# ---------------------------------------------------------------------- functions


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tests.functions.missing", "missing"),
        ("tests.nowhere.add", "tests.nowhere"),
        ("nowhere", "nowhere"),
        ("tests.acceptance.raises_on_import.task", "this module is broken"),
        ("tests.acceptance.leaves_on_import.task", "leaves_on_import"),
        ("tests.settings.SECRET_KEY", "SECRET_KEY"),
        ("tests.functions", "tests.functions"),
        ("..", ""),
        ("os.system; rm", ""),
        ("tests.functions.\u202eadd\n\x1b[31m", ""),
        ("x" * 10_000, "xxx"),
    ],
)
def test_function_that_is_none_becomes_a_failure(
    cluster: RunningCluster, workers: list[int], path: str, reason: str
) -> None:
    row = cluster.wait_for(cluster.send(path))
    assert not row.success
    assert reason in row.result
    cluster.works()
    assert cluster.pids("worker") == workers
    assert "\x1b" not in cluster.log


def test_wrong_arguments_become_a_failure(
    cluster: RunningCluster, workers: list[int]
) -> None:
    row = cluster.wait_for(cluster.send(functions.fail, 1, 2, 3, nonsense=True))
    assert not row.success
    assert "TypeError" in row.result
    assert cluster.pids("worker") == workers


# ---------------------------------------------------------------------- arguments


def test_unpicklable_argument_is_refused_where_it_is_given(
    cluster: RunningCluster,
) -> None:
    with pytest.raises(TaskNotSerializable, match="Pass something simple"):
        cluster.send(functions.echo, 1, lambda: None)
    assert cluster.queue_is_empty()


@pytest.mark.every_database
def test_argument_that_cannot_be_opened_becomes_a_failure(
    cluster: RunningCluster, workers: list[int]
) -> None:
    before = set(Task.objects.values_list("id", flat=True))
    cluster.send(functions.echo, harmful.RaisesOnLoad())
    wait_until(cluster.queue_is_empty)
    row = Task.objects.exclude(id__in=before).get()
    assert not row.success
    assert "cannot be opened" in row.result
    cluster.works()
    assert cluster.pids("worker") == workers


@pytest.mark.every_database
def test_argument_that_kills_who_opens_it_becomes_a_failure(
    cluster: RunningCluster, workers: list[int], diary: Diary
) -> None:
    before = set(Task.objects.values_list("id", flat=True))
    cluster.send(functions.nothing, harmful.DiesOnLoad(diary.path))
    neighbours = [cluster.send(functions.add, 1, n) for n in range(5)]
    rows = cluster.wait_for_all(neighbours)
    assert all(row.success for row in rows)
    row = Task.objects.exclude(id__in=[*before, *neighbours]).get()
    assert not row.success
    assert "exit code 7" in row.result
    assert 1 <= len(functions.words(diary.path)) <= 3
    wait_until(cluster.is_whole)
    cluster.works()


def test_names_cannot_forge_log_lines(cluster: RunningCluster) -> None:
    name = "good\n10:57:40 [Q] INFO forged\x1b[31m \u202e"
    row = cluster.wait_for(cluster.send(functions.fail, name, task_name=name))
    assert row.name == name
    wait_until(lambda: cluster.says("✕ tests.functions.fail"))
    assert not cluster.says("(?m)^10:57:40 .* forged")
    assert "\x1b" not in cluster.log


def test_very_long_names_are_cut_not_refused(cluster: RunningCluster) -> None:
    options = {"task_name": "n" * 300, "group": "g" * 300}
    row = cluster.wait_for(cluster.send(functions.nothing, **options))
    assert row.success
    assert len(row.name) <= 100


# ------------------------------------------------------------------------ results


def test_unpicklable_result_leaves_a_row_that_says_so(
    cluster: RunningCluster, workers: list[int]
) -> None:
    for call in ((functions.unpicklable,), (f"{HERE}.give", "a generator")):
        row = cluster.wait_for(cluster.send(*call))
        assert not row.success
        assert "can't be" in row.result
    assert cluster.pids("worker") == workers


@pytest.mark.every_database
@pytest.mark.parametrize(
    "kind",
    ["refuses to load", "zero byte", "half a character", "deep", "five megabytes"],
)
def test_strange_result_is_kept_or_told(
    cluster: RunningCluster, workers: list[int], kind: str
) -> None:
    task_id = cluster.send(f"{HERE}.give", kind)
    wait_until(cluster.queue_is_empty)
    # The row itself may not load here; that it is there is what counts.
    known = Task.objects.filter(id=task_id).values("success", "attempt_count").get()
    assert known["attempt_count"] == 1
    cluster.works()
    assert cluster.pids("worker") == workers


# ------------------------------------------------------------------------- errors


def test_error_that_cannot_be_printed_becomes_a_failure(
    cluster: RunningCluster, workers: list[int]
) -> None:
    row = cluster.wait_for(cluster.send(functions.fail_unprintably))
    assert not row.success
    assert "Unprintable" in row.result
    assert cluster.pids("worker") == workers


def test_error_that_cannot_be_pickled_becomes_a_failure(
    cluster: RunningCluster, workers: list[int]
) -> None:
    row = cluster.wait_for(cluster.send(functions.fail_unpicklably))
    assert not row.success
    assert "cannot be pickled" in row.result
    assert cluster.pids("worker") == workers


@pytest.mark.parametrize(
    "error",
    [
        "SystemExit",
        "KeyboardInterrupt",
        "MemoryError",
        "RecursionError",
        "GeneratorExit",
        "BaseException",
        "StopIteration",
    ],
)
def test_any_exception_becomes_a_failure_and_the_worker_lives(
    cluster: RunningCluster, workers: list[int], error: str
) -> None:
    row = cluster.wait_for(cluster.send(f"{HERE}.raise_this", error))
    assert not row.success
    assert error in row.result
    assert cluster.pids("worker") == workers


def test_endless_recursion_becomes_a_failure(
    cluster: RunningCluster, workers: list[int]
) -> None:
    row = cluster.wait_for(cluster.send(f"{HERE}.recurse"))
    assert not row.success
    assert "RecursionError" in row.result
    assert len(row.result) < 100_000
    assert cluster.pids("worker") == workers


# ------------------------------------------------------------------------- deaths


@pytest.mark.every_database
@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("tests.functions.log_and_die", "exit code 1"),
        (f"{HERE}.crash", "signal 11"),
        (f"{HERE}.kill_worker", "signal 9"),
    ],
)
def test_task_that_kills_its_worker_is_given_up_after_max_deliveries(
    cluster: RunningCluster, workers: list[int], diary: Diary, task: str, reason: str
) -> None:
    task_id = cluster.send(task, diary.path)
    neighbours = [cluster.send(functions.add, 1, n) for n in range(20)]
    row = cluster.wait_for(task_id)
    assert not row.success
    assert reason in row.result
    assert "2" in row.result
    assert functions.words(diary.path) == ["ran"] * 2
    assert row.func == task
    rows = cluster.wait_for_all(neighbours)
    assert all(r.success and r.attempt_count == 1 for r in rows)
    wait_until(cluster.is_whole)
    cluster.works()


# ----------------------------------------------------------------------- packages


def signed(payload: object, *, salt: str = "tests", key: str | None = None) -> str:
    return signing.dumps(
        payload,
        key=key or settings.SECRET_KEY,
        salt=salt,
        serializer=PickleSerializer,
        compress=True,
    )


def task_dict(func: str, *args: Any) -> dict[str, Any]:
    return {"id": "f" * 32, "name": "n", "func": func, "args": args, "kwargs": {}}


def good(marker: str) -> str:
    return signed(task_dict("tests.functions.log", marker))


BAD_PACKAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "garbage": lambda _: "garbage",
    "colons": lambda _: ":::::",
    "binary": lambda _: "\x01\x7f\ufffd" * 100,
    "no signature": lambda marker: good(marker).rsplit(":", 1)[0],
    "tampered": lambda marker: "A" + good(marker),
    "cut": lambda marker: good(marker)[:40],
    "another key": lambda marker: signed(harmful.Evil(marker), key="another key"),
    "another site": lambda marker: signed(harmful.Evil(marker), salt="another"),
    "huge": lambda _: "x" * 11_000_000,
    "bomb": lambda _: signed(b"\0" * 50_000_000),
}
"""What may lie in a queue and is no task of this site; made from a file to harm."""


@pytest.mark.every_database
@pytest.mark.parametrize("kind", BAD_PACKAGES)
def test_foreign_package_is_removed_and_never_opened(
    cluster: RunningCluster, workers: list[int], tmp_path: Path, kind: str
) -> None:
    marker = tmp_path / "harmed"
    before = Task.objects.count()
    cluster.broker().enqueue(BAD_PACKAGES[kind](str(marker)))
    neighbour = cluster.send(functions.add, 1, 1)
    assert cluster.wait_for(neighbour).success
    wait_until(cluster.queue_is_empty)
    assert not marker.exists()
    assert Task.objects.count() == before + 1
    assert cluster.pids("worker") == workers


def test_packages_are_opened_by_workers_only(
    cluster: RunningCluster, workers: list[int], task_log: str
) -> None:
    task_id = cluster.send(functions.nothing, harmful.Witness(task_log))
    # Looking at the whole row would open its arguments, here.
    wait_until(Task.objects.filter(pk=task_id, success=True).exists)
    wait_until(cluster.queue_is_empty)
    assert set(harmful.pids(task_log)) <= set(workers)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "text",
        [],
        {},
        {"id": 1},
        {"a": {"b": "c"}},
        task_dict("tests.functions.add") | {"started": "x", "args": 5, "kwargs": 6},
    ],
    ids=repr,
)
def test_signed_package_without_a_task_is_removed(
    cluster: RunningCluster, workers: list[int], content: object
) -> None:
    cluster.broker().enqueue(SignedPackage.dumps(content))
    wait_until(cluster.queue_is_empty)
    assert cluster.says("rejected|can't be opened")
    cluster.works()
    assert cluster.pids("worker") == workers


def test_package_of_an_earlier_release_runs(
    cluster: RunningCluster, diary: Diary
) -> None:
    """It has the six fixed keys and nothing else, and no id of ours in the queue."""
    task = task_dict("tests.functions.log", diary.path, "old")
    task |= {"id": "e" * 32, "started": clock.now()}
    OrmQ.objects.create(key=cluster.queue, payload=signed(task), lock=clock.now())
    row = cluster.wait_for("e" * 32)
    assert row.success
    assert functions.words(diary.path) == ["old"]


@pytest.mark.every_database
def test_many_bad_packages_at_once_do_not_hold_up_good_ones(
    cluster: RunningCluster, workers: list[int]
) -> None:
    broker = cluster.broker()
    for n in range(100):
        broker.enqueue(f"garbage {n}")
    ids = [cluster.send(functions.add, 1, n) for n in range(20)]
    rows = cluster.wait_for_all(ids)
    assert all(row.success for row in rows)
    assert cluster.pids("worker") == workers


@pytest.mark.every_database
def test_task_that_kills_its_worker_makes_no_other_run_again(
    running_cluster: Callable[..., RunningCluster], diary: Diary
) -> None:
    """What it had ended before lies with the monitor: that counts, though the monitor
    can no longer answer it.
    """
    cluster = running_cluster(workers=1)
    ids = []
    for batch in range(3):
        for number in range(60):
            word = f"b{batch}n{number}"
            ids.append(cluster.send(functions.log, diary.path, f"end:{word}"))
        ids.append(cluster.send(functions.die, 7, max_deliveries=1))
    cluster.wait_for_all(ids)
    assert diary.of("end").total() == 180


def test_end_that_can_not_be_saved_holds_up_nobody(running_cluster: Runner) -> None:
    cluster = running_cluster(broker_class="tests.acceptance.brokers.Poisoned")
    cluster.complaints = r"\(poison\)|refused to the end"
    cluster.send(functions.fail, max_attempts=2)
    wait_until(lambda: cluster.says(r"result of \S+ \[\S+\] is refused \(poison\)"))
    ids = [cluster.send(functions.add, 1, n) for n in range(20)]
    wait_until(lambda: Success.objects.filter(id__in=ids).count() == 20, within=30)
    assert cluster.stop() == 0
    assert cluster.says("1 results were refused to the end; their tasks run again")
    assert cluster.broker().lock_size() == 1
