"""A worker whose system calls are counted: those between two signs that it gives.

Run as `strace -o FILE python -m tests.acceptance.traced TASKS BATCHES`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import django

django.setup()

from django_q.brokers.base import Delivery  # noqa: E402 - the apps come first
from django_q.conf import get_options  # noqa: E402
from django_q.envelope import Envelope  # noqa: E402
from tests import functions  # noqa: E402
from tests.acceptance.desk import Desk  # noqa: E402

BEGIN, END = Path("/counted-from-here"), Path("/and-to-here")
"""Whoever reads the trace finds that we asked for these."""


def work(desk: Desk, tasks: int, batches: int) -> None:
    """The first batch is not counted. Nobody saves an end, but the worker hears so."""
    for batch in range(batches + 1):
        desk.give([package(batch * tasks + number) for number in range(tasks)])
        if batch:
            BEGIN.exists()
        desk.run(tasks)
        END.exists()
        desk.say_saved()


def package(number: int) -> Delivery:
    envelope = Envelope.from_call(functions.add, (number,), {}, {})
    return Delivery(f"{number}:1", envelope.seal())


if __name__ == "__main__":
    with Desk(replace(get_options(), recycle=0)) as desk:
        work(desk, *map(int, sys.argv[1:]))
