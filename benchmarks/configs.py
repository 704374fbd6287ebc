"""Config: one way to run one of the programs that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Self

from benchmarks.counts import Count

Database = Literal["pg", "sqlite"]
Command = tuple[str, ...]

OURS: Final = "ours"
EARLIER: Final = "djangoq2"
"""The release before ours has the same settings and functions."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One way to run one of them."""

    name: str
    environment: str
    producer: str
    """Module of `benchmarks.site` that enqueues."""

    commands: tuple[Command, ...]
    """Worker programs; {python} and {bin} are those of the environment."""

    stored: Count
    """How many tasks are through: their results are where the peer stores results."""

    tasks: int
    """Of a drain, unless another number is asked for: it takes about 5 seconds."""

    database: Database | None = None
    uses_redis: bool = False
    uses_django: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    """For the modules of `benchmarks.site`."""

    note: str = ""

    @property
    def is_cluster(self) -> bool:
        """Has the settings and functions of Django Q."""
        return self.environment in {OURS, EARLIER}

    def with_options(self, **changed: Any) -> Self:
        return replace(self, options={**self.options, **changed})

    def with_settings(self, **changed: Any) -> Self:
        """Of Q_CLUSTER."""
        return self.with_options(q={**self.options.get("q", {}), **changed})


def django(*words: str) -> Command:
    """A management command."""
    return ("{python}", "-m", "django", *words)
