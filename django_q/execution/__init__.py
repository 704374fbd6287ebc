"""Execution: one envelope becomes one outcome, whatever happens meanwhile."""

from __future__ import annotations

from django_q.execution.runner import NotRun, Runner

__all__ = ["NotRun", "Runner"]
