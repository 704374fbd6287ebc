"""The outbox in the admin: looked at, and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_q import outbox
from django_q.logs import clean
from django_q.models import OutboxEntry

if TYPE_CHECKING:
    # Wide, so that subclasses may name other columns.
    Names = list[Any] | tuple[Any, ...]
    OutboxModelAdmin = admin.ModelAdmin[OutboxEntry]
else:
    OutboxModelAdmin = admin.ModelAdmin


class OutboxAdmin(OutboxModelAdmin):
    """Tasks that are not sent yet, and why. Whoever deletes one takes it back."""

    list_display: Names = (
        "task_id",
        "queue",
        "created",
        "due",
        "tries",
        "get_error",
    )
    list_filter: ClassVar[Names] = ("queue",)
    search_fields: ClassVar[Names] = ("task_id",)
    fields: ClassVar[Names | None] = (
        "task_id",
        "queue",
        "created",
        "due",
        "tries",
        "get_error",
    )
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OutboxEntry]:
        """Packages stay in the database."""
        rows = super().get_queryset(request)
        return rows.using(outbox.write_alias()).defer("package")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: OutboxEntry | None = None
    ) -> bool:
        return False

    @admin.display(description=_("error"))
    def get_error(self, entry: OutboxEntry) -> str | None:
        """What the broker said to the last try."""
        return clean(entry.error) if entry.error else None
