"""Which functions this site runs: the setting `allowed_functions`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

from django_q.callables import resolve
from django_q.conf import get_options
from django_q.exceptions import TaskNotAllowed
from django_q.logs import clean

EVERYTHING_BELOW: Final = ".*"
"""Ends an entry that stands for all that is defined in a package or module."""

ADD_IT: Final = "Add it to Q_CLUSTER['allowed_functions'], if this site is to run it."


def check_path(path: str) -> None:
    """Raise TaskNotAllowed for a dotted path that no entry covers."""
    allowed = get_options().allowed_functions
    if allowed and not _covers(allowed, _whole(path)):
        raise _refused(f"{clean(path)} is")


def check_function(func: Callable[..., Any] | str, found: Callable[..., Any]) -> None:
    """Raise TaskNotAllowed for a function that no entry covers.

    `func` is what the task names, and `found` what that led to. A module that is allowed
    as a whole vouches for what it defines, not for what it has imported: else
    `shop.tasks.os.system` would be one of `shop.tasks.*`.
    """
    allowed = get_options().allowed_functions
    if not allowed:
        return
    origin = origin_of(found)
    path = _whole(func) if isinstance(func, str) else origin
    if any(path == entry for entry in allowed):
        return
    check_path(path)
    if not _covers(allowed, origin):
        raise _refused(f"{clean(path)} is {clean(origin)}, which is")


def check_call(func: Callable[..., Any] | str) -> None:
    """The same for whoever queues it: where a path leads, the worker will see."""
    if isinstance(func, str):
        check_path(func)
    else:
        check_function(func, func)


def find_function(func: Callable[..., Any] | str) -> Callable[..., Any]:
    """The function that this is or names. Raises TaskNotFound, of which TaskNotAllowed is
    one; what is not allowed is not imported, since importing a module runs it.
    """
    check_call(func)
    if not isinstance(func, str):
        return func
    found = resolve(func)
    check_function(func, found)
    return found


def origin_of(func: Callable[..., Any]) -> str:
    """The dotted path under which a function was defined; of an object that can be
    called, that of its class.
    """
    while isinstance(func, functools.partial):
        func = func.func
    name = getattr(func, "__qualname__", None)
    if name is None:
        func, name = type(func), type(func).__qualname__
    owner = getattr(func, "__self__", None)
    if inspect.isclass(owner):
        return f"{owner.__module__}.{owner.__qualname__}.{func.__name__}"
    module = getattr(func, "__module__", None) or type(owner).__module__
    return f"{module}.{name}"


def _covers(allowed: Sequence[str], path: str) -> bool:
    return any(
        path.startswith(entry.removesuffix("*"))
        if entry.endswith(EVERYTHING_BELOW)
        else path == entry
        for entry in allowed
    )


def _refused(what_is: str) -> TaskNotAllowed:
    message = f"{what_is} none of the functions that this site runs."
    return TaskNotAllowed(message, hint=ADD_IT)


def _whole(path: str) -> str:
    """Python's own functions may be named without their module."""
    return path if "." in path else f"builtins.{path}"
