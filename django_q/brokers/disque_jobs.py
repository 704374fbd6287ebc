"""Jobs of Disque: what is asked for them, and what they tell."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, Final

from django_q.brokers.base import Delivery
from django_q.exceptions import BrokerError, PackageTooLarge

LONGEST_LIFE: Final = 0xFFFF
"""Minutes that a job lives unless it is done: as many as its id can tell, in its last four
digits. (The server's own default is a day.)"""

MOST_FAILURES: Final = 1000
"""Failed runs that a job which was put off can tell of: it lives two minutes less for each,
so that one finds them in its id. Two, for that number is always odd."""

LONGEST_RETRY: Final = 11 * 24 * 3600
"""Seconds; a quarter of a job's life, for in the second half it can't be kept."""

LONGEST_DELAY: Final = 0xFFFFFFFF // 1000
"""Seconds. The copies on other nodes have no room for more milliseconds than that, and
would be handed out too early.
"""

LARGEST_JOB: Final = 512 * 1024 * 1024
"""Bytes; the server breaks the connection when more are announced."""

REPLICATES_WITHIN: Final = 5_000
"""Milliseconds for the other nodes to have their copies."""

ID_LENGTH: Final = 40

Jobs = list[Sequence[Any]]
"""As GETJOB gives them: queue, id, package, and the names and values of counters."""


def addition(
    queue: str, package: str, retry: int, delay: float = 0, failures: int = 0
) -> list[Any]:
    """The command that queues a package. DELAY must be less than TTL."""
    body, pause = package.encode(), ceil(delay)
    if len(body) > LARGEST_JOB:
        message = f"A task has a package of {len(body)} bytes; Disque takes "
        hint = "Pass a file name or an id instead."
        raise PackageTooLarge(f"{message}{LARGEST_JOB} at most.", hint=hint)
    if pause > LONGEST_DELAY:
        message = f"Disque can't keep a task waiting for {pause} seconds; "
        raise BrokerError(f"{message}{LONGEST_DELAY} are the most.")
    life = 60 * (LONGEST_LIFE - 2 * min(failures, MOST_FAILURES))
    if pause > life / 2:
        life += pause
    words = ["ADDJOB", queue, body, REPLICATES_WITHIN, "RETRY", retry, "TTL", life]
    return [*words, "DELAY", pause] if pause else words


def deliver(job: Sequence[Any]) -> Delivery:
    """A job as it is handed out. Its counters say why it was queued again."""
    _queue, name, body, *pairs = job
    counted = facts_in(pairs)
    failures = int(counted.get("nacks", 0)) + failures_in(name.decode())
    earlier = failures + int(counted.get("additional-deliveries", 0))
    receipt, package = f"{name.decode()}.{earlier}", body.decode(errors="replace")
    return Delivery(receipt, package, deliveries=1 + earlier, attempts=failures)


def failures_in(receipt: str) -> int:
    """Failed runs of the jobs in whose place this one was put."""
    life = int(receipt[ID_LENGTH - 4 : ID_LENGTH], 16)
    failures = (LONGEST_LIFE - life) // 2
    return failures if failures <= MOST_FAILURES else 0


def facts_in(pairs: Sequence[Any]) -> dict[str, Any]:
    """Names and values, in turn, as Disque tells them."""
    names = [name.decode() for name in pairs[::2]]
    return dict(zip(names, pairs[1::2], strict=True))


def job_of(receipt: str) -> str:
    """The id of the job that a receipt was given for."""
    return receipt[:ID_LENGTH]
