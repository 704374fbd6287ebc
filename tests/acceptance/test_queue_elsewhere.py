"""The queue is in another database than the results: save and removal are two commits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from django.core.management import call_command
from django.db.models import F

from django_q.models import OrmQ, Task
from django_q.transactions import writing
from tests import functions
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import Diary
from tests.databases import fresh_alias
from tests.faults.tally import announcements
from tests.waiting import wait_until

QUEUE: Final = "queue"
TASKS: Final = 400
SECONDS: Final = 0.01


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """For clusters that are to know the database of the queue."""
    with fresh_alias(tmp_path, QUEUE) as facts:
        call_command("migrate", "django_q", database=QUEUE, verbosity=0)
        yield {"QTEST_DATABASES": json.dumps({QUEUE: facts}, default=str)}


def left() -> set[str | None]:
    """The ids of the tasks that are on the queue, whoever has them."""
    return {package.task_id() for package in OrmQ.objects.using(QUEUE)}


@contextmanager
def nobody_can_remove() -> Iterator[None]:
    """All packages are locked meanwhile."""
    with writing(QUEUE, patient=True):
        OrmQ.objects.using(QUEUE).update(priority=F("priority"))
        yield


@pytest.mark.once
def test_cluster_is_killed_between_saving_and_removing(
    environment: dict[str, str], new_cluster: Runner, diary: Diary, q_settings: Any
) -> None:
    q_settings(orm=QUEUE)
    first = new_cluster(orm=QUEUE)
    second = new_cluster(orm=QUEUE, cluster_name=first.queue)
    words = [f"w{number}" for number in range(TASKS)]
    task = (functions.log_and_sleep, diary.path)
    ids = {word: first.send(*task, word, SECONDS, task_name=word) for word in words}
    rows = Task.objects.filter(cluster=first.queue)

    def saved() -> dict[str, dict[str, object]]:
        return {row["id"]: dict(row) for row in rows.values()}

    def some_are_saved_and_not_removed() -> bool:
        return bool(saved().keys() & left())

    first.environment |= environment
    first.start()
    wait_until(lambda: rows.count() >= TASKS // 8, within=30)
    with nobody_can_remove():
        wait_until(some_are_saved_and_not_removed)
        first.kill_everything()
    before, come_again = saved(), saved().keys() & left()

    second.environment |= environment
    second.start()
    wait_until(lambda: saved().keys() == set(ids.values()), within=30)
    wait_until(second.queue_is_empty)
    after = saved()
    assert come_again, "the kill was too late"
    assert {task_id: after[task_id] for task_id in before} == before
    assert all(row["success"] for row in after.values())
    starts = diary.of("start")
    assert all(starts[word] == 1 for word in words if ids[word] in before)
    again = Counter({word: times - 1 for word, times in starts.items()})
    assert not again - announcements([first.log_file, second.log_file])
    assert diary.of("end").keys() == ids.keys()
    assert second.stop() == 0
