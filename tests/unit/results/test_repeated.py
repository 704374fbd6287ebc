"""A task that comes again although it has succeeded: nothing is run, the chain goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import DatabaseError

from django_q import clock, results
from django_q.envelope import Envelope
from tests.unit.results.making import OPTIONS, ended

pytestmark = pytest.mark.django_db


def saved(*, success: bool = True) -> Envelope:
    outcome, record = results.conclude(ended(3)._replace(success=success), OPTIONS)
    results.save([record], using=results.write_alias())
    return outcome.envelope


def test_success_from_after_it_was_queued_counts() -> None:
    assert results.has_succeeded(saved())


def test_success_of_an_earlier_task_under_the_same_id_does_not() -> None:
    envelope = saved()
    later = envelope.started + timedelta(days=1)
    assert not results.has_succeeded(replace(envelope, started=later))


def test_success_counts_though_the_clock_of_its_worker_is_behind() -> None:
    ahead = replace(ended(3).envelope, started=clock.now() + timedelta(hours=1))
    _, record = results.conclude(ended(3)._replace(envelope=ahead), OPTIONS)
    results.save([record], using=results.write_alias())
    assert results.has_succeeded(ahead)


def test_success_of_a_slot_counts_whenever_it_was() -> None:
    """It was sent again by a cluster that did not know of the first time."""
    envelope = replace(saved(), slot="2026-05-12T12:00:00+00:00")
    later = envelope.started + timedelta(days=1)
    assert results.has_succeeded(replace(envelope, started=later))


def test_failure_is_no_success() -> None:
    assert not results.has_succeeded(saved(success=False))


def test_task_without_a_row_has_not_succeeded() -> None:
    assert not results.has_succeeded(ended(3).envelope)


def test_database_that_can_not_tell_makes_it_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    envelope = saved()

    def fail(*_args: object) -> None:
        raise DatabaseError

    monkeypatch.setattr("django_q.results.database.freshen", fail)
    assert not results.has_succeeded(envelope)


def test_its_record_writes_no_row_and_has_the_next_link() -> None:
    envelope = replace(saved(), chain=[("math.sqrt", (9,))])
    record = results.conclude_again(envelope, OPTIONS)
    assert (record.keep, record.pause, record.noted) == (False, None, False)
    assert record.link_id == (envelope.next_link() or envelope).id
    assert Envelope.open(record.link or "").func == "math.sqrt"
