"""Dotted name to callable, and back."""

from __future__ import annotations

import builtins
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from inspect import Parameter
from operator import attrgetter
from types import ModuleType
from typing import Any

from django_q.exceptions import TaskNotFound, TimeoutException
from django_q.logs import print_safely

PATH_LIMIT = 256
BY_PLACE_ONLY = (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL)
_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def resolve(path: str) -> Callable[..., Any]:
    """The callable that a dotted path names: a function, a class, a class's method. Of
    Python's own ones the name alone will do.

    Raises TaskNotFound with the reason, whatever the import itself raised, unless it
    was the time limit of the task.
    """
    own = vars(builtins).get(path)
    if callable(own):
        return own  # type: ignore[no-any-return]
    if len(path) > PATH_LIMIT or not _PATH.fullmatch(path):
        shown = path if len(path) <= 80 else path[:79] + "…"
        message = f"{shown!r} is not the path of a function, like 'shop.tasks.send'."
        raise TaskNotFound(message)
    module, rest = _import_longest(path)
    found: Any = module
    for name in rest:
        found = _attribute(path, found, name)
    if not callable(found):
        raise TaskNotFound(f"{path} is not a function: it is a {type(found).__name__}.")
    return found  # type: ignore[no-any-return]


def find_loaded(path: str) -> Any:
    """What a dotted path names, if its module was imported already; else None."""
    names = path.split(".")
    for size in range(len(names) - 1, 0, -1):
        module = sys.modules.get(".".join(names[:size]))
        if module is not None:
            try:
                return attrgetter(".".join(names[size:]))(module)
            except Exception:  # noqa: BLE001 - modules may have a __getattr__
                return None
    return None


def takes_keyword(func: Callable[..., Any], keyword: str) -> bool:
    """Whether a function can be called with this keyword, as far as it tells."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        # Functions written in C often don't tell: any keyword may be theirs.
        return True
    named = {p.name for p in parameters if p.kind not in BY_PLACE_ONLY}
    return keyword in named or any(p.kind is p.VAR_KEYWORD for p in parameters)


def name_of(func: Callable[..., Any] | str) -> str:
    """The text by which rows and log lines call a function."""
    if isinstance(func, str):
        return func
    if inspect.isfunction(func):
        return f"{func.__module__}.{func.__name__}"
    if inspect.ismethod(func) and inspect.isclass(func.__self__):
        return f"{func.__self__.__module__}.{func.__self__.__name__}.{func.__name__}"
    return print_safely(func)


def _import_longest(path: str) -> tuple[ModuleType, list[str]]:
    """Import the longest part of the path that is a module; what is left are names."""
    names = path.split(".")
    for size in range(len(names) - 1, 0, -1):
        candidate = ".".join(names[:size])
        try:
            return importlib.import_module(candidate), names[size:]
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if size > 1 and f"{candidate}.".startswith(f"{missing}."):
                continue
            raise _not_found(path, error) from error
        except TimeoutException:
            raise
        except (Exception, SystemExit) as error:
            raise _not_found(path, error) from error
    raise AssertionError


def _not_found(path: str, error: BaseException) -> TaskNotFound:
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError):
        reason = str(error)
    return TaskNotFound(f"Function {path} is not defined: {reason}")


def _attribute(path: str, owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        where = getattr(owner, "__name__", type(owner).__name__)
        reason = f"{where} has no {name!r}"
        close = get_close_matches(name, _names_in(owner), n=1)
        if close:
            reason += f". Did you mean {close[0]!r}?"
        raise TaskNotFound(f"Function {path} is not defined: {reason}") from None


def _names_in(owner: Any) -> list[str]:
    """What it has; a package also has modules that were not imported yet."""
    modules = pkgutil.iter_modules(getattr(owner, "__path__", []))
    return [*dir(owner), *(module.name for module in modules)]
