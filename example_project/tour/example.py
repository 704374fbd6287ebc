"""Example: a button, the code behind it, and how to look at what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class State(Enum):
    """Where a task stands: its mark, the mark in plain ASCII, and the word."""

    WAITING = ("…", ".", "Waiting")
    DELAYED = ("◷", "@", "Delayed")
    RUNNING = ("▶", ">", "Running")
    SUCCEEDED = ("✓", "+", "Succeeded")
    FAILED = ("✕", "x", "Failed")

    @property
    def mark(self) -> str:
        return self.value[0]

    @property
    def plain_mark(self) -> str:
        return self.value[1]

    @property
    def word(self) -> str:
        return self.value[2]

    @property
    def role(self) -> str:
        """The CSS class that colours it."""
        return self.name.lower()

    @property
    def is_final(self) -> bool:
        return self in {State.SUCCEEDED, State.FAILED}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How an example stands at this moment, for the page and for the terminal."""

    state: State
    words: str = ""
    done: int = 0
    total: int = 0
    failed_attempts: int = 0
    took: float | None = None
    """Seconds from `async_task` to the end."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What the example's own template shows below the line."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example of the tour."""

    slug: str
    title: str
    words: str
    button: str
    label: str
    """Its name in the terminal, with no more than 38 characters."""
    start: Callable[[], str]
    """Gives the cluster its work; returns the reference that `look` needs."""
    look: Callable[[str], Look]
    shown: tuple[Callable[..., Any], ...]
    """The functions whose source stands beside the button."""
    brief: Callable[[], str] | None = None
    """A shorter `start` where nobody watches."""
    expected: State = State.SUCCEEDED
    template: str = ""
