"""Attempts, on the page of their task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.http import HttpRequest

from django_q.models import Attempt, Task

if TYPE_CHECKING:
    AttemptTabularInline = admin.TabularInline[Attempt, Task]
else:
    AttemptTabularInline = admin.TabularInline


class AttemptInline(AttemptTabularInline):
    """What came of each run; whoever may see the task may see that."""

    model = Attempt
    fields = ("number", "worker", "started", "stopped", "success", "error")
    extra = 0
    can_delete = False

    def has_view_permission(
        self, request: HttpRequest, obj: Task | None = None
    ) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Task | None = None) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Task | None = None
    ) -> bool:
        return False
