"""What goes to Redis and what comes back: packages, slips, receipts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import time_ns
from typing import Final

from django_q.brokers.base import Consignment, Delivery
from django_q.brokers.priorities import bounded

REMEMBERED: Final = 7 * 24 * 3600 * 1000
"""Milliseconds for which the id is known of what is queued once for all."""

FOR_THE_FIRST_TIME: Final = b"1 0 0 0 "
"""How slips begin of what was handed out once, and has not failed yet."""


def new_token() -> str:
    """Says which question it is when it is asked again. Later ones sort behind."""
    return f"{time_ns():016x}{os.urandom(4).hex()}"


def deliveries(fields: Sequence[bytes]) -> list[Delivery]:
    """Receipts and slips, in turn, as what was handed out; oldest first."""
    pairs = sorted(zip(fields[::2], fields[1::2], strict=True))
    return [deliver(receipt.decode(), slip) for receipt, slip in pairs]


def fetched(token: str, slips: Sequence[bytes]) -> list[Delivery]:
    """What was handed out to the question with this token."""
    return [deliver(f"{token}:{n:05}", slip) for n, slip in enumerate(slips)]


def deliver(receipt: str, slip: bytes) -> Delivery:
    """A slip as it is handed out. What is no text can't be a package of ours."""
    header, _, package = slip.partition(b"\n")
    if header.startswith(FOR_THE_FIRST_TIME):
        return Delivery(receipt, package.decode(errors="replace"))
    counts = map(int, header.split(b" ", 4)[:4])
    return Delivery(receipt, package.decode(errors="replace"), *counts)


def words_of(consignment: Consignment, *, once: bool = False) -> tuple[bytes, ...]:
    """A package as the script that queues it is told of it."""
    package, _, task_id, delay, priority = consignment
    options = b""
    if delay > 0 or priority or once:
        options = b"%d %d" % (max(0, int(delay * 1000)), bounded(priority))
    if once and task_id:
        options += b" %d" % REMEMBERED
    return one_line(task_id or "").encode(), options, package.encode()


def one_line(text: str) -> str:
    """An id as it can stand in the first line of a slip."""
    return text.replace("\n", " ").replace("\t", " ")
