"""Hooks: `call_hook` by its names, disconnected and connected again, for every save."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.db.models.signals import post_save

import django_q.models
import django_q.signals
from django_q.clock import now
from django_q.models import Success, Task, call_hook
from django_q.results import needs_finish
from django_q.tasks import async_task, fetch, fetch_cached
from tests.unit.results.making import ended

HOOK = f"{__name__}.remember"
HOOKED: list[Task] = []

pytestmark = pytest.mark.django_db


def remember(task: Task) -> None:
    HOOKED.append(task)


def fail(_task: Task) -> None:
    raise ValueError("no\nluck")


@pytest.fixture(autouse=True)
def nothing_hooked() -> Iterator[None]:
    HOOKED.clear()
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def disconnected() -> Iterator[None]:
    assert post_save.disconnect(call_hook, sender=Task) is True
    yield
    post_save.connect(call_hook, sender=Task)


def save(hook: str, kind: type[Task] = Task, **columns: Any) -> Task:
    facts = {"id": "a" * 32, "name": "mine", "func": "math.sqrt"}
    row = kind(**facts | columns, hook=hook, started=now(), stopped=now())
    row.save()
    return row


def test_it_is_found_in_both_modules() -> None:
    assert django_q.signals.call_hook is django_q.models.call_hook is call_hook
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(django_q.signals, "no_such_name")  # noqa: B009 - mypy knows it is absent


def test_own_save_of_a_task_calls_it_each_time() -> None:
    row = save(HOOK)
    row.save()
    assert [row, row] == HOOKED


def test_saving_a_proxy_calls_none_as_django_names_another_sender() -> None:
    save(HOOK, Success, success=True)
    assert HOOKED == []


@pytest.mark.usefixtures("disconnected")
def test_disconnected_it_is_called_by_nobody() -> None:
    save(HOOK)
    async_task("math.sqrt", 4, hook=HOOK, sync=True)
    assert HOOKED == []


def test_connected_again_it_is_called_once_for_each_task() -> None:
    assert post_save.disconnect(call_hook, sender=Task)
    assert not post_save.disconnect(call_hook, sender=Task)
    post_save.connect(call_hook, sender=Task)
    post_save.connect(call_hook, sender=Task)

    async_task("math.sqrt", 4, hook=HOOK, sync=True)

    assert [task.result for task in HOOKED] == [2]


def test_workers_know_it_from_receivers_of_others() -> None:
    assert not needs_finish(ended())


@pytest.mark.usefixtures("disconnected")
def test_workers_know_when_it_is_not_there() -> None:
    assert not needs_finish(ended())


def test_cached_task_calls_its_hook_again_when_users_save_it() -> None:
    task_id = async_task("math.sqrt", 4, hook=HOOK, sync=True, cached=True)
    assert len(HOOKED) == 1
    task = fetch_cached(task_id)
    assert task is not None
    assert fetch(task_id, cached=False) is None

    task.save()

    assert [each.id for each in HOOKED] == [task_id] * 2
    assert Task.objects.get().result == 2


@pytest.mark.parametrize("hook", ["no.such.hook", "nodot", "math.no_such_hook"])
def test_hook_that_is_not_there_is_told(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(hook)
    assert caplog.messages == [f"malformed return hook '{hook}' for [mine]"]
    assert caplog.records[0].levelname == "ERROR"
    assert caplog.records[0].name == "django-q"


def test_hook_that_raises_is_told(caplog: pytest.LogCaptureFixture) -> None:
    save(f"{__name__}.fail")
    text = f"return hook {__name__}.fail failed on [mine] because no\\nluck"
    assert caplog.messages == [text]
