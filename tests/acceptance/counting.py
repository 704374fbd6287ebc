"""Counters of work: what a piece of code asks of others, and how often it calls us."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from django.db import connection
from redis import Redis as Client

import django_q
from tests.acceptance.apps import summary
from tests.servers import RedisServer

OURS = str(Path(django_q.__file__).parent)
CLOCKS = {"clock_gettime", "gettimeofday", "time"}
"""System calls only where the machine has no better way to tell the time."""


def at_most(bound: float, counted: Counter[str], tasks: int, what: str) -> None:
    """For a thousand tasks; who fails says what there was, the most frequent first."""
    each = 1000 / tasks
    total = counted.total() * each
    shown = ", ".join(f"{n * each:g} {name}" for name, n in counted.most_common(12))
    assert total <= bound, (
        f"{total:g} {what} for 1,000 tasks, at most {bound:g} are meant: {shown}"
    )


@contextmanager
def statements() -> Iterator[Counter[str]]:
    """The statements that this process gives to the database meanwhile."""
    counted: Counter[str] = Counter()

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        counted[summary(sql)] += 1
        return execute(sql, *rest)

    # What a new connection says first is nobody's cost here.
    connection.ensure_connection()
    with connection.execute_wrapper(count):
        yield counted


@contextmanager
def calls() -> Iterator[Counter[str]]:
    """The calls of our own functions in this thread meanwhile."""
    counted: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _what: Any) -> None:
        code = frame.f_code
        # What stands in brackets is a call of its own before Python 3.12.
        is_ours = code.co_filename.startswith(OURS) and "<" not in code.co_name
        if event == "call" and is_ours:
            counted[code.co_qualname] += 1

    usual = sys.getprofile()
    sys.setprofile(note)
    try:
        yield counted
    finally:
        sys.setprofile(usual)


@contextmanager
def commands(server: RedisServer) -> Iterator[Counter[str]]:
    """What Redis does meanwhile: all that it is asked, and what its scripts do."""
    counted: Counter[str] = Counter()
    with Client.from_url(server.url) as client:
        client.config_resetstat()
        yield counted
        for name, facts in client.info("commandstats").items():
            counted[name.removeprefix("cmdstat_")] += facts["calls"]
    for own in ("config|resetstat", "info"):
        counted.pop(own, None)


def system_calls(trace: Iterable[str], begin: str, end: str) -> Counter[str]:
    """What strace saw from each line that has the one word to the next with the other."""
    counted: Counter[str] = Counter()
    is_on = False
    for line in trace:
        is_sign = begin in line or end in line
        is_on = begin in line if is_sign else is_on
        name, is_call, _ = line.partition("(")
        if is_on and is_call and not is_sign and name not in CLOCKS:
            counted[name] += 1
    return counted
