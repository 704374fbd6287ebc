"""Titles of processes, where the package setproctitle is installed."""

from __future__ import annotations

from django_q.logs import clean
from django_q.optional import find_optional


def set_title(site: str, role: str, detail: str = "") -> None:
    """Name this process in ps and top. Functions and names only, never arguments."""
    titles = find_optional("setproctitle")
    if titles is not None:
        title = f"qcluster {site} {role}" + (f": {detail}" if detail else "")
        titles.setproctitle(clean(title))
