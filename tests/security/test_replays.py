"""Row 4: a package that comes again, byte for byte, after its task has succeeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from django_q import clock, results
from django_q.cluster.frames import Errand
from django_q.cluster.lines import Line
from django_q.cluster.working import Worker
from django_q.envelope import Envelope
from django_q.options import Options
from django_q.outcome import Outcome
from django_q.results import Record
from tests.unit.cluster.making import make_launch, make_parcel

pytestmark = pytest.mark.django_db

Perform = Callable[..., Record]


@pytest.fixture
def perform() -> Iterator[Perform]:
    """Have a worker with these options do what is in a package; gives its record."""
    lines = [Line(end) for _ in range(2) for end in Line.pair()]

    def perform_once(task: Envelope, errand: Errand, **options: Any) -> Record:
        chosen = Options(**options)
        worker = Worker(make_launch("worker", lines[0].end, options=chosen))
        worker.meet("monitor", 1, 0, lines[2])
        facts = {"package": task.seal(), "errand": errand, "cause": "timed out"}
        worker.perform(make_parcel(1, **facts))
        return Record.from_bytes(worker.kept[1].record)

    yield perform_once
    for line in lines:
        line.close()


@pytest.fixture
def task() -> Envelope:
    """It has succeeded, and a chain follows it."""
    chain = [("math.floor", (2.5,))]
    made = Envelope.from_call("math.sqrt", (9,), {}, {"chain": chain})
    save(made, 3.0)
    return made


def save(task: Envelope, result: Any) -> None:
    outcome = Outcome(envelope=task, success=True, result=result, stopped=clock.now())
    _, record = results.conclude(outcome, Options())
    results.save([record], using=results.write_alias())


def test_s04_copy_of_a_task_that_has_succeeded_is_not_run_where_that_is_wanted(
    perform: Perform, task: Envelope, caplog: pytest.LogCaptureFixture
) -> None:
    record = perform(task, Errand.EXECUTE, skip_completed=True)
    assert (record.cause, record.keep) == ("repeated", False)
    [said] = [r for r in caplog.records if r.levelname == "WARNING"]
    assert task.name in said.getMessage()
    assert "came again and has succeeded" in said.getMessage()


def test_s04_by_default_only_what_was_handed_out_before_is_looked_up(
    perform: Perform, task: Envelope, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert perform(task, Errand.EXECUTE).cause == "returned"
    assert perform(task, Errand.LOOK_FIRST).cause == "repeated"


def test_s04_slot_of_a_schedule_is_always_looked_up(
    perform: Perform, task: Envelope
) -> None:
    """A cluster that died after sending it is followed by one that sends it again."""
    again = replace(task, slot="2026-05-12T12:00:00+00:00", started=clock.now())
    assert perform(again, Errand.EXECUTE).cause == "repeated"


def test_s04_looking_up_costs_one_query(
    perform: Perform, django_assert_num_queries: Any
) -> None:
    new = Envelope.from_call("math.sqrt", (9,), {}, {})
    with django_assert_num_queries(1):
        record = perform(new, Errand.EXECUTE, skip_completed=True)
    assert (record.cause, record.keep) == ("returned", True)


def test_s04_task_that_was_queued_anew_under_its_id_is_no_copy(
    perform: Perform, task: Envelope
) -> None:
    again = replace(task, started=clock.now())
    assert perform(again, Errand.EXECUTE, skip_completed=True).cause == "returned"


def test_s04_end_of_a_task_is_recorded_without_a_look(
    perform: Perform, task: Envelope
) -> None:
    """It ran, and took its worker along."""
    record = perform(task, Errand.CONCLUDE, skip_completed=True)
    assert not record.success


def test_s04_copy_does_not_repeat_the_chain_behind_it(
    perform: Perform, task: Envelope
) -> None:
    link = task.next_link()
    assert link is not None
    before = perform(task, Errand.EXECUTE, skip_completed=True)
    assert before.link_id == link.id, "it may have been lost in a crash"
    save(link, 2)
    after = perform(task, Errand.EXECUTE, skip_completed=True)
    assert (after.link, after.link_id, after.link_queue) == (None, None, None)
