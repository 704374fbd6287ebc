"""Execution: one envelope becomes one outcome, whatever happens meanwhile."""

from __future__ import annotations

from django_q.execution.concurrent import ConcurrentRunner
from django_q.execution.runner import NotRun, Runner
from django_q.execution.threads import Threads

__all__ = ["ConcurrentRunner", "NotRun", "Runner", "Threads"]
