"""Verdicts: whether a task is run, or why it ends without that."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from django_q.brokers.front import receipt_of
from django_q.cluster.frames import UNRECEIPTED, Errand, Parcel
from django_q.envelope import Envelope
from django_q.options import Options
from django_q.outcome import Cause
from django_q.retrying import staleness
from django_q.signing import Opener


class Verdict(NamedTuple):
    """How it ends instead."""

    cause: Cause
    text: str


def open_parcel(parcel: Parcel, opener: Opener, options: Options) -> Envelope:
    """The envelope in it, as a worker of this cluster runs it. Raises UnreadablePackage,
    or whatever unpickling raises.
    """
    task, receipt = opener.loads(parcel.package), parcel.receipt
    if not receipt.startswith(UNRECEIPTED):
        return Envelope.from_dict(task, options.queue, ack_id=receipt_of(receipt))
    # Its broker can't bring it back: this run is the only one.
    return replace(Envelope.from_dict(task, options.queue, ack_id=None), max_attempts=1)


def judge(parcel: Parcel, envelope: Envelope, options: Options) -> Verdict | None:
    """None: it runs."""
    if parcel.errand is Errand.CONCLUDE:
        return Verdict(Cause(parcel.cause), parcel.text)
    allowed = deliveries_allowed(envelope, options)
    if parcel.starts >= allowed:
        text = f"{parcel.text} Given up after {allowed} deliveries."
        return Verdict(Cause.LOST, text)
    if options.max_task_age and (reason := staleness(envelope, options)):
        return Verdict(Cause.TOO_OLD, reason)
    return None


def looks_first(parcel: Parcel, envelope: Envelope, options: Options) -> bool:
    """Whether the successes are asked for it before it runs.

    For what may have run before; and for each slot of a schedule: a cluster that died
    after sending it is followed by one that sends it again, perhaps when it has run.
    """
    if parcel.errand is not Errand.EXECUTE:
        return parcel.errand is Errand.LOOK_FIRST
    return options.skip_completed or envelope.slot is not None


def deliveries_allowed(envelope: Envelope, options: Options) -> int:
    """How many starts it has that end with their worker."""
    return envelope.max_deliveries or options.max_deliveries
