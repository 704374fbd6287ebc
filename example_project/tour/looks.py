"""Looking at a task or a group through the public doors of django_q."""

from __future__ import annotations

from typing import Any

from django.db.models import Max, Min

from django_q.models import Task
from django_q.tasks import count_group, fetch
from tour.example import Look, State


def look_at_task(task_id: str) -> Look:
    """One task: still in the queue, or its saved result."""
    task = fetch(task_id)
    if task is None:
        return Look(state=State.WAITING, words="in the queue")
    if not task.success:
        return look_at_failure(task)
    return Look(
        state=State.SUCCEEDED, words=str(task.result), took=float(task.time_taken())
    )


def look_at_failure(task: Task) -> Look:
    """A failed task: the last line of its traceback, the whole below."""
    lines = str(task.result).strip().splitlines() or ["no result"]
    return Look(
        state=State.FAILED,
        words=lines[-1],
        took=float(task.time_taken()),
        more={"traceback": str(task.result).partition(" : ")[2]},
    )


def look_at_group(group: str, total: int, words: str = "") -> Look:
    """A group: how many of its tasks have ended, and how many of them badly."""
    done = count_group(group) or 0
    failed = count_group(group, failures=True) or 0
    if done < total:
        state = State.RUNNING if done else State.WAITING
        return Look(state=state, done=done, total=total)
    return Look(
        state=State.FAILED if failed else State.SUCCEEDED,
        words=f"{failed} failed" if failed else words,
        done=done,
        total=total,
        took=_seconds_of(group),
    )


def _seconds_of(group: str) -> float | None:
    """From the moment the first was queued to the moment the last one ended."""
    ends: dict[str, Any] = Task.objects.filter(group=group).aggregate(
        first=Min("started"), last=Max("stopped")
    )
    if ends["first"] is None:
        return None
    return float((ends["last"] - ends["first"]).total_seconds())
