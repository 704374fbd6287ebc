"""What a failed run says: its text, its summary, and what its reader may do."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from time import localtime, strftime
from types import TracebackType
from typing import Final

from django_q.logs import clean, print_safely

LONGEST_TEXT: Final = 100_000
"""Characters of an error that are kept; a message may hold megabytes."""

CUT: Final = "\n… {} characters left out …\n"
OURS: Final = (
    "django_q.execution",
    "django_q.callables",
    "django_q.cluster.atomic_runs",
)


def describe(error: BaseException) -> str:
    """`<exception> : <traceback>`, without our own frames; works for any exception."""
    try:
        where = _outside(error.__traceback__)
        lines = traceback.format_exception(type(error), error, where)
        text = f"{_message(error)} : {''.join(lines)}"
    except BaseException as another:  # noqa: BLE001 - its own code may raise anything
        text = f"{_message(error)} : its traceback can't be shown ({type(another)})"
    return shorten(text)


def summarise(error: BaseException) -> str:
    """The error in one line: `ValueError: no such order`."""
    kind, message = type(error).__name__, print_safely(error).strip()
    if not message:
        return kind
    return clean(f"{kind}: {message.splitlines()[0]}")


def shorten(text: str, limit: int = LONGEST_TEXT) -> str:
    """The text, or its beginning and its end."""
    surplus = len(text) - limit
    if surplus <= 0:
        return text
    half = limit // 2
    return text[:half] + CUT.format(surplus) + text[-half:]


def explain_missing(path: str, born: float) -> str:
    """Words for a function that is newer than the process that looks for it, or none.

    `born`: when the process started, in seconds since 1970.
    """
    changed = _changed(path)
    if changed is None or changed <= born:
        return ""
    begun, edited = (strftime("%H:%M", localtime(when)) for when in (born, changed))
    return (
        f"It doesn't exist in this worker, which started at {begun}, before your code"
        f" changed at {edited}. Restart the cluster."
    )


def _changed(path: str) -> float | None:
    """When the file of the module that a dotted path leads into was changed."""
    name = path
    while name and name not in sys.modules:
        name = name.rpartition(".")[0]
    file = getattr(sys.modules.get(name), "__file__", None)
    try:
        return Path(file).stat().st_mtime if file else None
    except OSError:
        return None


def _message(error: BaseException) -> str:
    return print_safely(error) or type(error).__name__


def _outside(where: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames that led from us into the task."""
    while where is not None:
        if not str(where.tb_frame.f_globals.get("__name__")).startswith(OURS):
            return where
        where = where.tb_next
    return None
