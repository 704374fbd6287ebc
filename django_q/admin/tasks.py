"""Ended tasks in the admin: looked at, resubmitted, deleted, never changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import admin, messages
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, QuerySet, TextField
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_q import tasks
from django_q.admin.attempts import AttemptInline
from django_q.logs import clean, print_safely
from django_q.models import Attempt, Task, glance
from django_q.task_options import TASK_OPTIONS

if TYPE_CHECKING:
    # Wide, so that subclasses may name other columns.
    Names = list[Any] | tuple[Any, ...]
    TaskModelAdmin = admin.ModelAdmin[Task]
else:
    TaskModelAdmin = admin.ModelAdmin

PICKLED: Final = ("args", "kwargs", "result")
PICKLE_SHOWN: Final = 1024 * 1024
"""Characters: what is stored in more is not opened for a page."""

SHORT_RESULT: Final = 100
RESULT_START: Final = 800
"""Characters of a stored text that hold its first hundred."""

PROBLEMS_SHOWN: Final = 5


@admin.action(description=_("Resubmit selected tasks"))
def resubmit_task(
    modeladmin: TaskModelAdmin, request: HttpRequest, queryset: QuerySet[Task]
) -> None:
    """Queue the selected tasks again, as new ones; failures are deleted then.

    Asks for the permission itself: it may stand in a ModelAdmin that is not ours.
    """
    if not may_resubmit(modeladmin, request):
        raise PermissionDenied
    done, problems = 0, []
    for task in one_by_one(queryset):
        try:
            enqueue_again(task)
        except Exception as error:  # noqa: BLE001 - the page says it, whatever it is
            text = _("%(task)s was not queued: %(error)s")
            words = {"task": task, "error": clean(print_safely(error))}
            problems.append(text % words)
            continue
        done += 1
        if not task.success and modeladmin.has_delete_permission(request, task):
            task.delete()
    say_what_was_queued(modeladmin, request, done, problems)


def may_resubmit(modeladmin: TaskModelAdmin, request: HttpRequest) -> bool:
    """Running something is adding something, where nobody may add by hand."""
    opts = modeladmin.opts
    codename = get_permission_codename("add", opts)
    return request.user.has_perm(f"{opts.app_label}.{codename}")


def one_by_one(queryset: QuerySet[Task]) -> Iterator[Task]:
    """Each task with all that belongs to it; only one is in memory at a time."""
    for pk in list(queryset.values_list("pk", flat=True)):
        yield from Task.objects.filter(pk=pk)


def say_what_was_queued(
    modeladmin: TaskModelAdmin, request: HttpRequest, done: int, problems: list[str]
) -> None:
    """Tell the user how many tasks were queued, and why others were not."""
    if done:
        text = ngettext(
            "%d task was queued again.", "%d tasks were queued again.", done
        )
        modeladmin.message_user(request, text % done, messages.SUCCESS)
    for problem in problems[:PROBLEMS_SHOWN]:
        modeladmin.message_user(request, problem, messages.ERROR)
    rest = len(problems) - PROBLEMS_SHOWN
    if rest > 0:
        text = ngettext("%d more was not queued.", "%d more were not queued.", rest)
        modeladmin.message_user(request, text % rest, messages.ERROR)


def enqueue_again(task: Task) -> str:
    """Queue what an ended task did as a new task, and give its id.

    Raises TypeError when its arguments can't be read.
    """
    args, kwargs = task.args or (), task.kwargs or {}
    if not isinstance(args, tuple | list) or not isinstance(kwargs, Mapping):
        raise TypeError(_("its arguments can't be read"))
    # A keyword of the function may be called like an option; named here as well, it
    # stays the function's.
    options: dict[str, Any] = dict.fromkeys(TASK_OPTIONS & kwargs.keys())
    kept = {"hook": task.hook, "group": task.group, "cluster": task.cluster}
    options |= {name: value for name, value in kept.items() if value}
    return tasks.async_task(task.func, *args, **kwargs, q_options=options)


class TaskAdmin(TaskModelAdmin):
    """Ended tasks: read, resubmitted, deleted, never changed."""

    list_display: Names = (
        "name",
        "group",
        "func",
        "cluster",
        "started",
        "stopped",
        "time_taken",
    )
    list_filter: ClassVar[Names] = ("group", "cluster")
    search_fields: ClassVar[Names] = ("name", "func", "group")
    actions: Sequence[Any] = [resubmit_task]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        return super().get_queryset(request).defer(*PICKLED)

    def get_readonly_fields(
        self, request: HttpRequest, obj: Task | None = None
    ) -> list[Any]:
        """All of the model; what is pickled, as text."""
        names = [field.name for field in self.opts.concrete_fields]
        shown = [f"shown_{name}" if name in PICKLED else name for name in names]
        return [*super().get_readonly_fields(request, obj), *shown]

    def get_inlines(self, request: HttpRequest, obj: Task | None = None) -> list[Any]:
        """Its attempts, where there is more to say of them than of the task."""
        inlines = [*super().get_inlines(request, obj)]
        if obj is not None and Attempt.objects.filter(task=obj.pk).exists():
            inlines.append(AttemptInline)
        return inlines

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(
        self, request: HttpRequest, obj: Task | None = None
    ) -> bool:
        return False

    def get_actions(
        self, request: HttpRequest, action_location: Any = None
    ) -> dict[str, Any]:
        """Offer resubmitting to those who may. The location is new in Django 6.1."""
        where = {"action_location": action_location} if action_location else {}
        actions: dict[str, Any] = super().get_actions(request, **where)
        if not may_resubmit(self, request):
            actions.pop(resubmit_task.__name__, None)
        return actions

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Refuse an action that the page did not offer, instead of passing over it."""
        wants = request.POST.get("action") == resubmit_task.__name__
        if wants and not may_resubmit(self, request):
            raise PermissionDenied
        return super().changelist_view(request, extra_context)

    @admin.display(description=_("arguments"))
    def shown_args(self, task: Task) -> str | None:
        return show_stored(task, "args")

    @admin.display(description=_("keyword arguments"))
    def shown_kwargs(self, task: Task) -> str | None:
        return show_stored(task, "kwargs")

    @admin.display(description=_("result"))
    def shown_result(self, task: Task) -> str | None:
        return show_stored(task, "result")


class FailAdmin(TaskAdmin):
    """Tasks that failed."""

    list_display: Names = (
        "name",
        "group",
        "func",
        "cluster",
        "started",
        "stopped",
        "short_result",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        start = Substr("result", 1, RESULT_START, output_field=CharField())
        return super().get_queryset(request).annotate(result_start=start)

    @admin.display(description=_("error"))
    def short_result(self, task: Task) -> str:
        """The first characters of the error."""
        start = getattr(task, "result_start", None)
        text = glance.read_text(start, SHORT_RESULT) if start else None
        return "…" if text is None else text


def show_stored(task: Task, column: str) -> str | None:
    """The value in a pickled column as text that is safe to show."""
    start = Substr(column, 1, PICKLE_SHOWN + 1, output_field=TextField())
    rows = Task.objects.filter(pk=task.pk).values_list(start, flat=True)
    stored = rows.first()
    if stored is None:
        return None
    if len(stored) > PICKLE_SHOWN:
        return str(_("too large to be shown"))
    try:
        return format_html("<pre>{}</pre>", glance.show_text(glance.decode(stored)))
    except ValueError:
        return str(_("can't be read"))
