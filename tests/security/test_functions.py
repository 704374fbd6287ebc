"""Rows 7 to 11 and 30: what may be named, written and asked for."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from django_q.brokers import get_broker
from django_q.callables import resolve
from django_q.cluster.scheduling import Scheduler
from django_q.conf import get_options
from django_q.exceptions import PackageTooLarge, TaskNotAllowed, TaskNotFound
from django_q.models import Failure, OrmQ, Schedule, ScheduleNote, Task
from django_q.signing import SignedPackage
from django_q.tasks import async_chain, async_iter, async_task, schedule
from django_q.tasks.enqueue import LONGEST_CHAIN

NOON = datetime(2026, 5, 12, 12, tzinfo=UTC)


def plan(**columns: Any) -> Schedule:
    """A row as somebody wrote it who does not ask the model."""
    facts = {"func": "tests.functions.nothing", "next_run": NOON}
    return Schedule.objects.create(**facts | {"schedule_type": "D"} | columns)


def fire() -> list[dict[str, Any]]:
    """Run what is due; the task dicts in the queue."""
    Scheduler(get_options(), get_broker(), "test").enqueue_due(NOON)
    return [SignedPackage.loads(row.payload) for row in OrmQ.objects.order_by("pk")]


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "eval"])
def test_s07_allowed_functions_forbid_all_others(path: str, q_settings: Any) -> None:
    q_settings(allowed_functions=["tests.functions.*"])
    for refused in ({"func": path}, {"func": "tests.functions.add", "hook": path}):
        with pytest.raises(TaskNotAllowed):
            async_task(**refused)
        with pytest.raises(ValidationError, match="allowed_functions"):
            Schedule(**refused).full_clean()


@pytest.mark.django_db
def test_s07_module_that_is_allowed_does_not_lend_what_it_imports(
    q_settings: Any,
) -> None:
    q_settings(allowed_functions=["tests.functions.*"], sync=True)
    with pytest.raises(TaskNotFound):
        async_task("tests.functions.os.system", "true")
    assert f"{os.name}.system" in Failure.objects.get().result


@pytest.mark.parametrize(
    "path",
    [
        "tests.functions",
        "tests.settings.SECRET_KEY",
        "tests.acceptance.raises_on_import.task",
        "..",
        "os.system; rm",
        "os .system",
        "\u043es.system",
        "tests.functions.\u202eadd",
        "tests.functions.add\0",
        "x." * 5000 + "x",
        "",
    ],
)
def test_s08_path_that_leads_to_no_function_is_no_more_than_a_failure(
    path: str,
) -> None:
    with pytest.raises(TaskNotFound) as caught:
        resolve(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.django_db(transaction=True)
def test_s09_row_gives_no_option_by_which_the_scheduler_would_run_its_task() -> None:
    options = "{'sync': True, 'broker': 'x', 'nonsense': 1, 'timeout': 7}"
    plan(kwargs=f"sync=True, broker='x', q_options={options}")
    [task] = fire()
    assert task["timeout"] == 7
    assert not {"sync", "broker", "nonsense"} & task.keys()
    assert task["kwargs"] == {}
    assert not Task.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("keyword", ["cluster", "hook", "timeout", "sync", "slot"])
def test_s09_keyword_of_the_intended_date_is_never_an_option(keyword: str) -> None:
    plan(intended_date_kwarg=keyword)
    [task] = fire()
    assert task["kwargs"] == {keyword: NOON.isoformat()}
    assert [row.key for row in OrmQ.objects.all()] == ["tests"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("options", ["5", "{'hook': 5}", "{'timeout': 'x'}"])
def test_s09_option_of_the_wrong_kind_is_the_rows_own_error(options: str) -> None:
    plan(kwargs=f"q_options={options}")
    plan(name="another")
    assert [task["group"] for task in fire()] == ["another"]
    assert ScheduleNote.objects.count() == 1


HOSTILE = [
    "__import__('os').system('true')",
    "open",
    "().__class__",
    "[x for x in (1,)]",
    "f'{1}'",
    "9**9**9",
    "(" * 5000,
    "[" * 200 + "]" * 200,
    "9" * 9000,
    "\0",
    "'x' * 1000000000",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("column", ["args", "kwargs"])
def test_s10_text_that_is_no_literal_is_refused(text: str, column: str) -> None:
    written = text if column == "args" else f"x={text}"
    with pytest.raises(ValidationError) as refused:
        Schedule(func="math.sqrt", **{column: written}).full_clean()
    assert column in refused.value.message_dict


@pytest.mark.django_db(transaction=True)
def test_s11_rows_that_would_exhaust_a_parser_hold_up_no_other() -> None:
    for text in (*HOSTILE[:9], "1," * 100_000):
        plan(args=text)
    plan(name="good")
    assert [task["group"] for task in fire()] == ["good"]
    assert ScheduleNote.objects.count() == 10


@pytest.mark.django_db
@pytest.mark.parametrize("column", ["args", "kwargs"])
def test_s11_longer_arguments_are_not_written_any_more(column: str) -> None:
    text = f"x='{'a' * 10_000}'" if column == "kwargs" else f"'{'a' * 10_000}'"
    row = Schedule(func="tests.functions.nothing", **{column: text})
    with pytest.raises(ValidationError, match="more than 10000 characters"):
        row.full_clean()
    row.save()
    # An older one goes on, and can be changed in all else.
    row.name = "old"
    row.full_clean()
    assert row.parse_args() or row.parse_kwargs()
    setattr(row, column, text.replace("a", "b"))
    with pytest.raises(ValidationError):
        row.full_clean()


@pytest.mark.django_db
def test_s11_schedule_refuses_arguments_that_are_too_long() -> None:
    with pytest.raises(ValidationError, match="more than 10000 characters"):
        schedule("tests.functions.nothing", "x" * 10_000)
    assert not Schedule.objects.exists()


def test_s30_chain_has_a_longest_length() -> None:
    with pytest.raises(ValueError, match="at most 10,000 tasks, not 10,001"):
        async_chain(["math.sqrt"] * (LONGEST_CHAIN + 1))


def test_s30_chains_inside_chains_end_before_the_stack_does() -> None:
    link: Any = "math.sqrt"
    for _ in range(400):
        link = ("math.sqrt", (4,), {"chain": [link]})
    with pytest.raises(TypeError, match="'chain' must be"):
        async_chain(["math.sqrt", link])


@pytest.mark.django_db
def test_s30_chain_below_it_is_queued() -> None:
    async_chain(["math.sqrt"] * LONGEST_CHAIN)
    assert OrmQ.objects.count() == 1


@pytest.mark.django_db
def test_s30_chain_and_iterable_are_bounded_by_the_size_of_a_package(
    q_settings: Any,
) -> None:
    q_settings(max_package_size=2000)
    with pytest.raises(PackageTooLarge):
        async_chain([("math.sqrt", (number,)) for number in range(500)])
    with pytest.raises(PackageTooLarge):
        async_iter("math.sqrt", ["x" * 3000])
    assert not OrmQ.objects.exists()
