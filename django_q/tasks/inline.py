"""Inline: a task runs here and now, on the same bench as in a cluster (sync mode)."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from itertools import count

from django.db import transaction

from django_q import conf, results
from django_q.envelope import Envelope
from django_q.execution import Runner
from django_q.execution.runner import Perform
from django_q.logs import clean, logger
from django_q.options import Options
from django_q.outcome import Outcome
from django_q.retrying import attempts_allowed, repeats_for_ever


def run_inline(package: str, options: Options, list_key: str | None = None) -> None:
    """Run a sealed task and the rest of its chain, save what came of each.

    Raises the first error of a task, once everything is saved that is to be.
    """
    errors: list[BaseException] = []
    # One bench for a whole chain, but no longer: a function that a test replaces
    # between two calls must be found anew.
    reporter = conf.error_reporter
    with closing(Runner(options, owns_process=False, reporter=reporter)) as runner:
        link: str | None = package
        while link is not None:
            envelope = Envelope.open(link).served_by(options.queue)
            outcome = run_repeatedly(runner, envelope, options)
            link = settle(runner, outcome, options, list_key)
            if outcome.error is not None:
                errors.append(outcome.error)
    if errors:
        raise errors[0]


def run_repeatedly(runner: Runner, envelope: Envelope, options: Options) -> Outcome:
    """Run a task until it succeeds, as often as it may be tried.

    Nobody waits here: there are no pauses, and repeating for ever means once.
    """
    allowed = 1
    if not repeats_for_ever(envelope, options):
        allowed = attempts_allowed(envelope, options)
    frame = in_transaction if runner.is_atomic(envelope) else None
    for attempt in count(1):
        outcome = runner.execute(envelope, attempt=attempt, frame=frame)
        if outcome.success or attempt >= allowed:
            return outcome
    raise AssertionError


def in_transaction(perform: Perform) -> Outcome:
    """As a worker does with an atomic task, but its result is saved afterwards."""
    with transaction.atomic(using=results.write_alias()):
        return perform()


def settle(
    runner: Runner, outcome: Outcome, options: Options, list_key: str | None = None
) -> str | None:
    """Save what came of a task, call its hook. Gives the package of the next link."""
    ended, record = results.conclude(outcome, options, list_key)
    if record.keep:
        _save(record, options)
    limit = runner.limit_of(outcome.envelope)
    results.finish(
        ended, options, within=partial(runner.call_within, limit), list_key=list_key
    )
    return record.link


def _save(record: results.Record, options: Options) -> None:
    """The task has run: that its row can't be written is no reason to fail its caller."""
    try:
        alias = results.write_alias()
        results.save([record], using=alias)
        results.save_attempts([record], using=alias)
        results.prune(options, using=alias)
    except Exception:  # noqa: BLE001 - whatever the database raises
        logger.exception("Could not save task result [%s]", clean(record.name))
