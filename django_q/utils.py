"""Tools that earlier releases offered here, each where it lives today."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_q.callables import name_of
from django_q.clock import add_months, add_years, localtime
from django_q.conf import Conf
from django_q.execution.connections import tidy_connections
from django_q.logs import logger

__all__ = [
    "add_months",
    "add_years",
    "close_old_django_connections",
    "get_func_repr",
    "localtime",
]


def get_func_repr(func: Callable[..., Any] | str) -> str:
    """The text by which rows and log lines call a function."""
    return name_of(func)


def close_old_django_connections() -> None:
    """Close database connections that are broken or too old, but in no transaction.

    In sync mode they are the caller's own: it keeps them, and the log says so.
    """
    if Conf.SYNC:
        logger.warning("sync mode: the database connections stay as they are")
        return
    tidy_connections()
