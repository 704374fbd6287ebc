"""Titles of processes, where the package setproctitle is installed."""

from __future__ import annotations

import importlib
from typing import Any

from django_q.logs import clean


def _load() -> Any:
    try:
        return importlib.import_module("setproctitle")
    except ImportError:
        return None


TITLES = _load()


def set_title(site: str, role: str, detail: str = "") -> None:
    """Name this process in ps and top. Functions and names only, never arguments."""
    if TITLES is not None:
        title = f"qcluster {site} {role}" + (f": {detail}" if detail else "")
        TITLES.setproctitle(clean(title))
