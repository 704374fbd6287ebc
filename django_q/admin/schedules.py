"""Schedules in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_q.conf import get_options
from django_q.logs import clean
from django_q.models import Schedule, ScheduleNote, Task
from django_q.models.schedule import link_to_task

if TYPE_CHECKING:
    # Wide, so that subclasses may name other columns.
    Names = list[Any] | tuple[Any, ...]
    ScheduleModelAdmin = admin.ModelAdmin[Schedule]
else:
    ScheduleModelAdmin = admin.ModelAdmin


class ScheduleAdmin(ScheduleModelAdmin):
    """Schedules. Whoever may write one can run any function of the project."""

    list_display: Names = (
        "id",
        "name",
        "func",
        "schedule_type",
        "repeats",
        "cluster",
        "next_run",
        "get_last_run",
        "get_success",
        "get_error",
    )
    list_display_links: Names | None = ("id", "name")
    list_filter: ClassVar[Names] = ("next_run", "schedule_type", "cluster")
    search_fields: ClassVar[Names] = ("name", "func")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        last = Task.objects.filter(id=OuterRef("task")).order_by()
        return (
            super()
            .get_queryset(request)
            .select_related("note")
            .annotate(
                task_id=Subquery(last.values("id")[:1]),
                task_name=Subquery(last.values("name")[:1]),
                task_success=Subquery(last.values("success")[:1]),
            )
        )

    def get_readonly_fields(
        self, request: HttpRequest, obj: Schedule | None = None
    ) -> list[Any]:
        fields = [*super().get_readonly_fields(request, obj)]
        return [*fields, "error"] if obj is not None and obj.error else fields

    def get_fieldsets(
        self, request: HttpRequest, obj: Schedule | None = None
    ) -> list[Any]:
        """With a word on what it means to fill in this form."""
        (title, fields), *others = super().get_fieldsets(request, obj)
        warning = _("Whoever may save a schedule can run any function of the project.")
        if get_options().allowed_functions:
            warning = _("Only functions that the settings allow are run.")
        return [(title, {"description": warning, **fields}), *others]

    def save_model(
        self, request: HttpRequest, obj: Schedule, form: Any, change: bool
    ) -> None:
        """Save; an error is forgotten until the schedule fails again."""
        super().save_model(request, obj, form, change)
        if obj.error:
            ScheduleNote.write(obj, error=None, anchor=obj.anchor)

    @admin.display(description=_("last run"))
    def get_last_run(self, schedule: Schedule) -> str | None:
        """A link to the last task."""
        task_id = getattr(schedule, "task_id", None)
        if not task_id:
            return None
        name, success = (getattr(schedule, f"task_{c}") for c in ("name", "success"))
        return link_to_task(task_id, name, success, site=self.admin_site.name)

    @admin.display(description=_("success"), boolean=True)
    def get_success(self, schedule: Schedule) -> bool | None:
        """Whether the last task succeeded."""
        return getattr(schedule, "task_success", None)

    @admin.display(description=_("error"))
    def get_error(self, schedule: Schedule) -> str | None:
        """Why it could not run when it was due."""
        return clean(schedule.error) if schedule.error else None
