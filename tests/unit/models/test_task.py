"""Task and its two faces: how results, groups and names are found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import MultipleObjectsReturned

from django_q.models import Failure, Success, Task

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)


def save(number: int, **columns: Any) -> Task:
    facts = {"name": f"task {number}", "func": "math.sqrt", "result": number}
    moments = {"started": NOON, "stopped": NOON + timedelta(seconds=number)}
    return Task.objects.create(id=f"{number:032}", **facts | moments | columns)


def test_task_is_found_by_id_and_by_name():
    task = save(1)
    assert Task.get_task(task.id) == Task.get_task("task 1") == task
    assert Task.get_result(task.id) == Task.get_result("task 1") == 1


def test_unknown_task_is_none():
    assert Task.get_task("0" * 32) is None
    assert Task.get_task("nobody") is None
    assert Task.get_result("nobody") is None


def test_name_of_32_characters_is_a_name_too():
    task = save(1, name="n" * 32)
    assert Task.get_task("n" * 32) == task


def test_id_is_looked_for_before_the_name():
    first = save(1)
    save(2, name=first.id)
    assert Task.get_task(first.id) == first


def test_name_of_several_tasks_is_refused():
    save(1, name="twin")
    save(2, name="twin")
    with pytest.raises(MultipleObjectsReturned):
        Task.get_task("twin")


def test_result_of_a_failure_is_its_error():
    save(1, success=False, result="boom : Traceback")
    assert Task.get_result("task 1") == "boom : Traceback"


def test_newest_task_comes_first():
    for number in (1, 3, 2):
        save(number)
    assert list(Task.objects.values_list("result", flat=True)) == [3, 2, 1]
    assert list(Success.objects.values_list("result", flat=True)) == [3, 2, 1]


def test_each_face_shows_its_own():
    good, bad = save(1), save(2, success=False)
    assert [task.pk for task in Success.objects.all()] == [good.pk]
    assert [task.pk for task in Failure.objects.all()] == [bad.pk]


def test_text_of_a_task_is_its_name_or_its_id():
    assert str(save(1)) == "task 1"
    assert str(save(2, name="")) == f"{2:032}"


def test_time_taken_counts_the_time_in_the_queue():
    assert save(3).time_taken() == 3.0


@pytest.mark.parametrize("value", [len, Task, pytest, "text", {"a": [1]}, None])
def test_any_result_comes_back(value: Any):
    if value is pytest:
        value = Task(id="1", name="inside", started=NOON, stopped=NOON)
    save(1, result=value)
    assert Task.get_result("task 1") == value


# ------------------------------------------------------------------------- groups


@pytest.fixture
def group() -> Task:
    save(1, group="g")
    save(2, group="other")
    save(3, group="g", success=False)
    return save(4, group="g")


def test_results_of_a_group_are_successes_unless_failures_are_wanted(group: Task):
    assert set(Task.get_result_group("g")) == {1, 4}
    assert set(Task.get_result_group("g", failures=True)) == {1, 3, 4}
    assert set(group.group_result() or ()) == {1, 4}
    assert set(group.group_result(failures=True) or ()) == {1, 3, 4}


def test_tasks_of_a_group_are_all_unless_failures_are_unwanted(group: Task):
    assert {task.result for task in Task.get_task_group("g")} == {1, 3, 4}
    assert {t.result for t in Task.get_task_group("g", failures=False)} == {1, 4}


def test_group_is_counted_whole_or_its_failures_alone(group: Task):
    assert Task.get_group_count("g") == group.group_count() == 3
    assert Task.get_group_count("g", failures=True) == 1
    assert group.group_count(failures=True) == 1
    assert Task.get_group_count("nobody") == 0


def test_label_of_a_group_is_taken_off(group: Task):
    assert group.group_delete() == 3
    assert Task.get_group_count("g") == 0
    assert Task.objects.count() == 4


def test_group_is_deleted_with_its_tasks(group: Task):
    assert group.group_delete(tasks=True) == (3, {"django_q.Task": 3})
    assert [task.group for task in Task.objects.all()] == ["other"]


def test_task_without_group_has_no_group_to_ask():
    alone = save(1)
    assert alone.group_result() is None
    assert alone.group_count() is None
    assert alone.group_delete(tasks=True) is None
    assert Task.objects.count() == 1
