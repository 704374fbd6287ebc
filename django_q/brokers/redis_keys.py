"""The key of a queue's list; all other keys of the queue begin as it does."""

from __future__ import annotations

import re
from typing import Final

PREFIX: Final = "django_q:"
SUFFIX: Final = ":q"


def key_of(queue: str, *, is_cluster: bool = False) -> str:
    """The list of a queue. In a Redis Cluster, what stands in braces says which node has
    a key: so all of one queue are together.
    """
    return f"{PREFIX}{{{queue}}}{SUFFIX}" if is_cluster else f"{PREFIX}{queue}{SUFFIX}"


def queue_of(key: str, *, is_cluster: bool = False) -> str:
    """The queue of a list."""
    name = key.removeprefix(PREFIX).removesuffix(SUFFIX)
    return name[1:-1] if is_cluster else name


def beside(key: str, name: str) -> str:
    """Another key of the queue with this list; scripts know them all by themselves."""
    return f"{key.removesuffix(SUFFIX)}:{name}"


def escaped(text: str) -> str:
    """Text of a pattern that stands for itself."""
    return re.sub(r"([\\\[\]*?^-])", r"\\\1", text)
