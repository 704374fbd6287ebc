"""Wear: after how much work a worker makes room for a fresh process."""

from __future__ import annotations

import resource
import sys

from django_q.options import Options


def is_worn(done: int, options: Options) -> bool:
    """Whether it has run enough tasks, or has taken too much memory."""
    limit = options.max_rss
    worn = 0 < options.recycle <= done
    return worn or bool(limit and resident_memory_kb() >= limit)


def resident_memory_kb() -> int:
    """Peak resident memory of this process, in kilobytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
