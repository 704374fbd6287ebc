"""The only wait in the suite: for a fact, with a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    fact: Callable[[], T], within: float = 10.0, *, every: float = 0.02
) -> T:
    """Look until `fact()` is true and return what it says; fail after `within` seconds.

    Name the fact well, or give it a docstring: a failure repeats it.
    """
    deadline = time.monotonic() + within
    while not (seen := fact()):
        if time.monotonic() >= deadline:
            raise AssertionError(
                f"not within {within:g} s: {describe(fact)} (last seen: {seen!r})"
            )
        time.sleep(every)
    return seen


def stays(fact: Callable[[], object], during: float = 0.3) -> bool:
    """Whether `fact()` is true now and at each look for `during` seconds."""
    deadline = time.monotonic() + during
    while fact():
        if time.monotonic() >= deadline:
            return True
        time.sleep(0.02)
    return False


def describe(fact: Callable[[], object]) -> str:
    name: str = getattr(fact, "__name__", repr(fact))
    code = getattr(fact, "__code__", None)
    if name != "<lambda>" or code is None:
        return fact.__doc__ or name.replace("_", " ")
    return f"{code.co_filename}:{code.co_firstlineno}"
