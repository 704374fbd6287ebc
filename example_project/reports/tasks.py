"""Reporting."""

from __future__ import annotations

from django.db.models import Avg, Count, F, Q

from django_q.models import Task


def what_ran() -> list[dict[str, object]]:
    """The finished tasks, counted by function."""
    rows = (
        Task.objects.order_by("func")
        .values("func")
        .annotate(
            runs=Count("id"),
            failures=Count("id", filter=Q(success=False)),
            mean=Avg(F("stopped") - F("started")),
        )
    )
    return [row | {"mean": row["mean"].total_seconds()} for row in rows]
