"""Titles of processes, where the package setproctitle is installed."""

from __future__ import annotations

from typing import Any, Final

from django_q.logs import clean
from django_q.optional import find_optional

PROGRAM: Final = "qcluster"

TITLES: Final[Any] = find_optional("setproctitle")
"""None where the package is missing. Loaded with this module, so before a fork, and looked for
once: to look for what is missing takes longer than a short task.
"""


def set_title(site: str, role: str, detail: str = "") -> None:
    """Name this process in ps and top. Functions and names only, never arguments."""
    if TITLES is not None:
        title = f"{PROGRAM} {site} {role}" + (f": {detail}" if detail else "")
        TITLES.setproctitle(clean(title))
        # It says the same to the kernel, in so few letters that nobody can read it. Who
        # reads there, as Python does before each fork, is confused by blanks.
        getattr(TITLES, "setthreadtitle", str)(PROGRAM)
