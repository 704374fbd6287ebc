"""Remarks: what a worker says in the log about the packages that it opens."""

from __future__ import annotations

from django_q import clock
from django_q.cluster.frames import Parcel
from django_q.envelope import Envelope
from django_q.logs import clean, logger


def say_repeated(envelope: Envelope) -> None:
    """It was saved, and not removed from the queue; or this is a copy of it."""
    text = "%s [%s] came again and has succeeded: it is removed, not run"
    logger.warning(text, *names_of(envelope))


def say_not_ours(envelope: Envelope) -> None:
    """When an atomic task was to begin, its package was gone or another cluster's."""
    text = "%s [%s] is done, or another cluster's: its lease was lost; not run here"
    logger.warning(text, *names_of(envelope))


def say_started(envelope: Envelope, title: str) -> None:
    """A task begins for the first time."""
    waited = (clock.now() - envelope.started).total_seconds()
    text = "▶ %s [%s] on %s, waited %.1f s"
    logger.info(text, *names_of(envelope), title, max(0.0, waited))


def say_started_again(envelope: Envelope, parcel: Parcel, allowed: int) -> None:
    """Perhaps for the second time, and why."""
    start = f", delivery {parcel.starts + 1} of {allowed}"
    counted = start if parcel.starts else ""
    text = "↻ %s [%s] starts again%s: %s"
    logger.warning(text, *names_of(envelope), counted, clean(parcel.text))


def label_of(envelope: Envelope) -> str:
    """Function and task, for the board: whoever reads it makes it clean."""
    func, name = envelope.func, envelope.name
    if not (type(func) is str and type(name) is str):
        func, name = names_of(envelope)
    return f"{func} [{name}]"


def names_of(envelope: Envelope) -> tuple[str, str]:
    """Function and task, as log lines call them."""
    return clean(envelope.func_name), clean(envelope.name)
