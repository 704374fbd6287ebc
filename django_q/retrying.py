"""Whether a task runs, and runs again, and when: the whole of retrying."""

from __future__ import annotations

import random

from django_q import clock
from django_q.envelope import Envelope
from django_q.options import Options
from django_q.outcome import Cause, Outcome

LONGEST_EXPONENT = 60
LONGEST_PAUSE = 366 * 24 * 3600.0
"""Seconds: no pause is longer, whatever the options say; databases refuse more."""


def pause_before_retry(outcome: Outcome, options: Options) -> float | None:
    """Seconds until the next run of a task, or None when this run was the last.

    Repeating for ever, as the earlier releases did, keeps their rhythm: `retry`.
    """
    if outcome.success or outcome.cause in {Cause.LOST, Cause.TOO_OLD}:
        return None
    if repeats_for_ever(outcome.envelope, options):
        return min(float(options.retry), LONGEST_PAUSE)
    if outcome.attempt >= attempts_allowed(outcome.envelope, options):
        return None
    return draw_pause(outcome, options)


def staleness(envelope: Envelope, options: Options) -> str:
    """Words for a task that is too old to be run; none for any other.

    The moment when it was queued is under the signature: whoever brings an old package
    once more can't make it younger.
    """
    limit = options.max_task_age
    if not limit:
        return ""
    age = (clock.now() - envelope.started).total_seconds()
    if age <= limit:
        return ""
    return (
        f"It was queued {age:,.0f} s ago and did not run: older than {limit:g} s"
        " (setting 'max_task_age')."
    )


def repeats_for_ever(envelope: Envelope, options: Options) -> bool:
    """An explicit `ack_failures: False` without a number of attempts."""
    if envelope.max_attempts or options.max_attempts:
        return False
    if envelope.ack_failure is not None:
        return not envelope.ack_failure
    return options.ack_failures is False


def attempts_allowed(envelope: Envelope, options: Options) -> int:
    """How many runs a failing task gets in all."""
    if envelope.max_attempts:
        return envelope.max_attempts
    return 1 if envelope.ack_failure else options.max_attempts or 1


def draw_pause(outcome: Outcome, options: Options) -> float:
    """Exponential back-off with full jitter: anything between nothing and a bound.

    The bound doubles from `retry_delay` up to `retry_delay_max`. Full jitter spreads
    tasks that failed together, so that they do not come back together.
    """
    envelope = outcome.envelope
    first = _given(envelope.retry_delay, options.retry_delay)
    longest = _given(envelope.retry_delay_max, options.retry_delay_max)
    exponent = min(outcome.attempt - 1, LONGEST_EXPONENT)
    bound = min(longest, first * 2.0**exponent, LONGEST_PAUSE)
    # Settings may be another kind of number; what is saved is plain.
    return random.uniform(0, float(bound))  # noqa: S311


def _given(own: float | None, general: float) -> float:
    return general if own is None else own
