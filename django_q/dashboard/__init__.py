"""Watching clusters from outside: figures, the summary, the live terminal."""

from __future__ import annotations

from django_q.dashboard.configuration import list_settings
from django_q.dashboard.memory import get_process_mb, memory
from django_q.dashboard.snapshot import NO_ANSWER, Snapshot, take_snapshot
from django_q.dashboard.summary import as_json, get_ids, info
from django_q.dashboard.terminal import monitor

__all__ = [
    "NO_ANSWER",
    "Snapshot",
    "as_json",
    "get_ids",
    "get_process_mb",
    "info",
    "list_settings",
    "memory",
    "monitor",
    "take_snapshot",
]
