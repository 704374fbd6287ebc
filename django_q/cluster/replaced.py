"""Replaced: functions of the door that a project has put its own in the place of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

from django_q.callables import resolve
from django_q.exceptions import TaskNotFound
from django_q.logs import logger
from django_q.options import Options

HONOURED: Final = ("scheduler", "worker")
"""Roles whose replacement works: it is called for each pass, and for each task."""

IGNORED: Final = {
    "Sentinel": "override start() of a Cluster to run a sentinel of your own",
    "monitor": "a cluster saves results in batches, and not through this function",
    "pusher": "a cluster fetches under leases, and not through this function",
}
"""Those whose replacement does not, and why, or what does."""

DOOR: Final = "django_q.cluster"


def find_replaced() -> tuple[dict[str, str], list[str]]:
    """Replaced roles with the dotted paths of what replaces them, and warnings about
    those that have no effect.
    """
    door = import_module(DOOR)
    paths, warnings = {}, []
    for name in (*HONOURED, *IGNORED):
        own = vars(door).get(name)
        if own is None or own is door.__getattr__(name):
            continue
        path = path_of(own)
        if name in IGNORED:
            why = IGNORED[name]
        elif path is None:
            why = "a child process can't find it: it must be a function of a module"
        else:
            paths[name] = path
            continue
        warnings.append(f"{DOOR}.{name} was replaced, which has no effect: {why}.")
    return paths, warnings


def without_places(options: Options, replaced: Mapping[str, str]) -> Options:
    """The options of a cluster; a worker of the project's own has one task at a time."""
    if "worker" not in replaced or options.concurrency == 1:
        return options
    text = "%s.worker was replaced, and takes one task at a time: 'concurrency' is 1"
    logger.warning(text, DOOR)
    return replace(options, concurrency=1)


def path_of(func: Callable[..., Any]) -> str | None:
    """The dotted path under which another process finds the same function."""
    path = f"{getattr(func, '__module__', '')}.{getattr(func, '__qualname__', '')}"
    try:
        return path if resolve(path) is func else None
    except TaskNotFound:
        return None
