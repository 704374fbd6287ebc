"""Attempts: rows beside the task's own, for runs that did not simply succeed."""

from __future__ import annotations

import os
import re
import socket
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from django_q import clock, results
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.models import Attempt, Task
from django_q.outcome import Cause, Outcome
from django_q.results import attempts, pruning
from django_q.tasks import async_task

pytestmark = pytest.mark.django_db

TRACEBACK = "Traceback …\nValueError: no such file \N{SNOWMAN}\0"


def ended(
    *, success: bool = False, attempt: int = 1, result: Any = TRACEBACK, **options: Any
) -> Outcome:
    options = {"task_id": "a" * 32, **options}
    return Outcome(
        envelope=Envelope.from_call("tests.functions.fail", (), {}, options),
        success=success,
        result=result,
        stopped=clock.now(),
        ran=options.pop("ran", 1.5),
        cause=Cause.RETURNED if success else Cause.RAISED,
        attempt=attempt,
    )


def save(*outcomes: Outcome) -> None:
    """What a cluster writes at the end of these runs."""
    options = get_options()
    records = [results.make_record(outcome, options)[1] for outcome in outcomes]
    using = results.write_alias()
    results.save([record for record in records if record.keep], using=using)
    results.save_attempts(records, using=using)


def attempts_of(task: Task) -> list[Attempt]:
    return list(Attempt.objects.filter(task=task))


def test_each_attempt_has_its_own_start_end_worker_and_error():
    runs = [ended(attempt=1, max_attempts=3), ended(attempt=2, max_attempts=3)]
    last = ended(success=True, attempt=3, result=5, max_attempts=3)
    save(*runs, last)
    rows = attempts_of(Task.objects.get())
    assert [(row.number, row.success) for row in rows] == [
        (1, False),
        (2, False),
        (3, True),
    ]
    assert {row.worker for row in rows} == {f"{socket.gethostname()}:{os.getpid()}"}
    for row, outcome in zip(rows, [*runs, last], strict=True):
        assert row.stopped == outcome.stopped
        assert row.started == outcome.stopped - timedelta(seconds=1.5)
    assert [row.error for row in rows] == [TRACEBACK.replace("\0", r"\x00")] * 2 + [""]


def test_attempts_are_there_before_the_task_has_ended():
    save(ended(attempt=1, max_attempts=3))
    assert Attempt.objects.get().task_id == "a" * 32
    assert not Task.objects.exists()


def test_task_that_succeeds_at_once_has_no_further_row():
    save(ended(success=True, result=5))
    assert Task.objects.get().attempt_count == 1
    assert not Attempt.objects.exists()


def test_only_failure_says_when_and_where_it_ran():
    save(ended())
    task = Task.objects.get()
    [row] = attempts_of(task)
    assert row.worker
    assert row.started is not None
    assert task.started < row.stopped


def test_nobody_knows_when_a_lost_run_began():
    outcome = ended()
    lost = Outcome(
        envelope=outcome.envelope,
        success=False,
        result="killed by signal 9",
        stopped=outcome.stopped,
        cause=Cause.LOST,
    )
    save(lost)
    row = Attempt.objects.get()
    assert (row.started, row.worker, row.error) == (None, "", "killed by signal 9")


def test_attempt_that_is_saved_again_stays_as_it_was():
    save(ended(attempt=1, max_attempts=3))
    save(ended(attempt=1, max_attempts=3, result="something else"))
    assert "ValueError" in Attempt.objects.get().error


def test_of_a_task_that_is_repeated_for_ever_the_last_attempts_stay(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(attempts, "MOST_OF_A_TASK", 3)
    for number in range(1, 6):
        save(ended(attempt=number, ack_failure=False))
    numbers = Attempt.objects.values_list("number", flat=True)
    assert list(numbers) == [3, 4, 5]


@pytest.mark.parametrize("at_a_stroke", [{}, {connection.vendor: 10}])
def test_attempts_go_with_the_success_that_is_pruned(
    at_a_stroke: dict[str, int], q_settings: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pruning, "AT_A_STROKE", at_a_stroke)
    q_settings(save_limit=1)
    for digit in "abc":
        save(ended(success=True, attempt=2, result=5, task_id=digit * 32))
    results.prune(get_options(), using=results.write_alias())
    assert Task.objects.count() == Attempt.objects.count() == 1
    assert Attempt.objects.get().task_id == Task.objects.get().pk


def test_attempts_of_tasks_that_are_gone_are_swept_out_after_a_week():
    for digit in "abc":
        save(ended(task_id=digit * 32))
    Task.objects.exclude(pk="a" * 32).delete()
    assert Attempt.objects.count() == 3
    week_ago = clock.now() - attempts.KEPT_ALONE - timedelta(minutes=1)
    Attempt.objects.exclude(task="c" * 32).update(stopped=week_ago)
    results.sweep_attempts(using=results.write_alias())
    kept = Attempt.objects.order_by("task").values_list("task", flat=True)
    assert list(kept) == ["a" * 32, "c" * 32]


def test_sync_mode_notes_the_run_that_counts():
    with pytest.raises(ValueError, match="on purpose"):
        async_task("tests.functions.fail", sync=True)
    [row] = attempts_of(Task.objects.get())
    assert (row.number, row.success) == (1, False)
    assert "Error" in row.error


def test_page_of_a_task_shows_its_attempts(admin_client: Client):
    save(ended(result="<b>first</b>", max_attempts=2), ended(attempt=2))
    page = admin_client.get(reverse("admin:django_q_failure_change", args=["a" * 32]))
    text = page.content.decode()
    assert escape("<b>first</b>") in text
    assert re.search(r'class="field-worker">\s*<p>' + socket.gethostname(), text)
    assert 'name="attempts-0-number"' not in text


def test_page_of_a_task_without_attempts_does_not_speak_of_them(admin_client: Client):
    save(ended(success=True, result=5))
    page = admin_client.get(reverse("admin:django_q_success_change", args=["a" * 32]))
    assert "attempts" not in page.content.decode()
