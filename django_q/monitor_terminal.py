"""The screens and summaries under the path where the earlier releases had them."""

from __future__ import annotations

from django_q.dashboard import get_ids, get_process_mb, info, memory, monitor

__all__ = ["get_ids", "get_process_mb", "info", "memory", "monitor"]
