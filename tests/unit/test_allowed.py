"""The setting `allowed_functions`: who may name what."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from copy import copy
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from django_q import allowed
from django_q.exceptions import TaskNotAllowed, TaskNotFound
from django_q.models import Failure, Schedule, Success
from django_q.tasks import async_task, fetch, result, schedule
from tests import functions


class Called:
    def __call__(self) -> None: ...

    def method(self) -> None: ...

    @classmethod
    def of_class(cls) -> None: ...


@pytest.mark.parametrize(
    ("func", "origin"),
    [
        (len, "builtins.len"),
        (math.sqrt, "math.sqrt"),
        (os.system, f"{os.name}.system"),
        (dict.fromkeys, "builtins.dict.fromkeys"),
        ([].append, "builtins.list.append"),
        (functools.partial(functools.partial(math.sqrt), 4), "math.sqrt"),
        (Called, f"{__name__}.Called"),
        (Called(), f"{__name__}.Called"),
        (Called().method, f"{__name__}.Called.method"),
        (Called.of_class, f"{__name__}.Called.of_class"),
    ],
)
def test_origin_is_where_a_function_was_defined(
    func: Callable[..., Any], origin: str
) -> None:
    assert allowed.origin_of(func) == origin


@pytest.mark.parametrize(
    ("path", "entries"),
    [
        ("math.sqrt", ["math.sqrt"]),
        ("math.sqrt", ["shop.tasks.*", "math.*"]),
        ("shop.tasks.mail.send", ["shop.tasks.*"]),
        ("len", ["builtins.len"]),
        ("anything.at.all", None),
        ("anything.at.all", []),
    ],
)
def test_path_is_allowed(path: str, entries: list[str] | None, q_settings: Any) -> None:
    q_settings(allowed_functions=entries)
    allowed.check_path(path)


@pytest.mark.parametrize(
    ("path", "entries"),
    [
        ("math.sqrt", ["math.floor"]),
        ("math.sqrt", ["math"]),
        ("mathematics.sqrt", ["math.*"]),
        ("os.system", ["shop.*"]),
        ("len", ["len.*"]),
        ("eval", ["shop.*"]),
        # A text in place of a list allows nothing by accident.
        ("math.sqrt", "math.sqrt.cube"),
    ],
)
def test_path_is_refused(path: str, entries: list[str], q_settings: Any) -> None:
    q_settings(allowed_functions=entries)
    with pytest.raises(TaskNotAllowed, match="allowed_functions") as caught:
        allowed.check_path(path)
    assert str(copy(caught.value)) == str(caught.value)


def test_module_vouches_for_what_it_defines_and_not_for_what_it_imports(
    q_settings: Any,
) -> None:
    path = "tests.functions.os.system"
    q_settings(allowed_functions=["tests.functions.*"])
    allowed.check_path(path)
    with pytest.raises(TaskNotAllowed, match=rf"{os.name}\.system"):
        allowed.check_function(path, os.system)
    q_settings(allowed_functions=[path])
    allowed.check_function(path, os.system)


def test_text_in_place_of_a_list_allows_no_function(q_settings: Any) -> None:
    q_settings(allowed_functions="math.sqrt.cube")
    with pytest.raises(TaskNotAllowed):
        allowed.check_function(math.sqrt, math.sqrt)


@pytest.mark.parametrize("func", ["os.system", os.system, "eval"])
def test_forbidden_function_is_not_queued(func: Any, q_settings: Any) -> None:
    q_settings(allowed_functions=["math.*"])
    with pytest.raises(TaskNotAllowed):
        async_task(func, "true")


def test_forbidden_hook_is_not_queued(q_settings: Any) -> None:
    q_settings(allowed_functions=["math.*"])
    with pytest.raises(TaskNotAllowed):
        async_task("math.sqrt", 9, hook="os.system")


@pytest.mark.django_db
def test_allowed_function_runs(q_settings: Any) -> None:
    q_settings(allowed_functions=["math.*"], sync=True)
    task_id = async_task("math.sqrt", 9)
    assert result(task_id) == 3.0
    assert Success.objects.count() == 1


@pytest.mark.django_db
def test_worker_refuses_and_imports_nothing(
    q_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever queued it had other settings, or none of ours."""
    q_settings(allowed_functions=["math.*"], sync=True)
    monkeypatch.setattr("django_q.tasks.enqueue.check_call", lambda *_: None)
    with pytest.raises(TaskNotFound):
        async_task("tests.acceptance.raises_on_import.anything", task_name="refused")
    task = fetch("refused")
    assert task is not None
    assert "none of the functions that this site runs" in task.result
    assert Failure.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("column", ["func", "hook"])
def test_schedule_of_a_forbidden_function_is_not_valid(
    column: str, q_settings: Any
) -> None:
    q_settings(allowed_functions=["math.*"])
    row = Schedule(**{"func": "math.sqrt", column: "os.system"})
    with pytest.raises(ValidationError) as refused:
        row.full_clean()
    assert list(refused.value.message_dict) == [column]


@pytest.mark.django_db
def test_schedule_is_refused_and_an_allowed_one_is_made(q_settings: Any) -> None:
    q_settings(allowed_functions=["math.*"])
    with pytest.raises(ValidationError):
        schedule("os.system", "true")
    assert schedule("math.sqrt", 9).pk


@pytest.mark.django_db
def test_forbidden_hook_in_a_package_is_not_called(
    q_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    q_settings(allowed_functions=["math.*"], sync=True)
    monkeypatch.setattr("django_q.tasks.enqueue.check_call", lambda *_: None)
    called: list[Any] = []
    monkeypatch.setattr(functions, "keep_hooked", called.append, raising=False)
    async_task("math.sqrt", 9, hook="tests.functions.keep_hooked")
    assert called == []
    assert Success.objects.count() == 1
