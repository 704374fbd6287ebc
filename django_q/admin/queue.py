"""The queue of the database broker in the admin."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.db.models import Case, F, QuerySet, TextField, Value, When
from django.db.models.functions import Length
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_q.brokers.registry import is_elsewhere
from django_q.conf import Conf, get_options
from django_q.exceptions import BrokerError
from django_q.models import OrmQ, glance
from django_q.models.ormq import OWN_COLUMNS, peek
from django_q.status import Stat

if TYPE_CHECKING:
    # Wide, so that subclasses may name other columns.
    Names = list[Any] | tuple[Any, ...]
    QueueModelAdmin = admin.ModelAdmin[OrmQ]
    QueueModelForm = forms.ModelForm[OrmQ]
else:
    QueueModelAdmin = admin.ModelAdmin
    QueueModelForm = forms.ModelForm

PACKAGE_SHOWN: Final = 256 * 1024
"""Characters: larger packages are not looked into for a page."""


class QueueForm(QueueModelForm):
    """Queue and lock of a queued task."""

    key = forms.ChoiceField(label=_("queue"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        key = self.fields.get("key")
        if isinstance(key, forms.ChoiceField):
            names = sorted({*known_queues(), self.instance.key} - {""})
            key.choices = [(name, name) for name in names]


def known_queues() -> set[str]:
    """Queues of this broker that the settings name or a running cluster serves."""
    options = get_options()
    names = {options.name, options.queue, *(Conf.conf.get("ALT_CLUSTERS") or {})}
    with suppress(BrokerError, OSError):
        names |= {stat.queue for stat in Stat.get_all() if stat.queue}
    return {name for name in names if not is_elsewhere(name)}


class QueueAdmin(QueueModelAdmin):
    """The queue of the database broker; the task inside is shown if it is ours."""

    list_display: Names = (
        "id",
        "key",
        "name",
        "group",
        "func",
        "lock",
        "task_id",
    )
    list_filter: ClassVar[Names] = ("key",)
    form = QueueForm
    readonly_fields: ClassVar[Names] = (
        "task_id",
        "name",
        "group",
        "func",
        "args",
        "kwargs",
        "q_options",
        "priority",
    )
    fields: ClassVar[Names | None] = ("key", "lock", *readonly_fields)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[OrmQ]:
        """Rows of the broker's database, with their packages where these are small."""
        rows = super().get_queryset(request).using(Conf.ORM).defer("payload")
        small = When(package_size__lte=PACKAGE_SHOWN, then=F("payload"))
        package = Case(small, default=Value(""), output_field=TextField())
        return rows.annotate(package_size=Length("payload"), package=package)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_readonly_fields(
        self, request: HttpRequest, obj: OrmQ | None = None
    ) -> list[Any]:
        """With the lock of a task that a cluster holds: moved, it would run twice."""
        fields = [*super().get_readonly_fields(request, obj)]
        return [*fields, "lock"] if obj is not None and obj.holder else fields

    def save_model(
        self, request: HttpRequest, obj: OrmQ, form: Any, change: bool
    ) -> None:
        """Write what was changed, and nothing else: a cluster may hold the row."""
        values = {name: form.cleaned_data[name] for name in form.changed_data}
        if values:
            OrmQ.objects.using(Conf.ORM).filter(pk=obj.pk).update(**values)

    def delete_model(self, request: HttpRequest, obj: OrmQ) -> None:
        obj.delete(using=Conf.ORM)

    @admin.display(description=_("task id"))
    def task_id(self, row: OrmQ) -> str | None:
        return row.task_key or look_up(row, "id")

    @admin.display(description=_("name"))
    def name(self, row: OrmQ) -> str | None:
        return look_up(row, "name")

    @admin.display(description=_("group"))
    def group(self, row: OrmQ) -> str | None:
        return look_up(row, "group")

    @admin.display(description=_("function"))
    def func(self, row: OrmQ) -> str | None:
        return look_up(row, "func")

    @admin.display(description=_("arguments"))
    def args(self, row: OrmQ) -> str | None:
        return look_up(row, "args")

    @admin.display(description=_("keyword arguments"))
    def kwargs(self, row: OrmQ) -> str | None:
        return look_up(row, "kwargs")

    @admin.display(description=_("options"))
    def q_options(self, row: OrmQ) -> str | None:
        task = look_into(row)
        return glance.show({k: v for k, v in task.items() if k not in OWN_COLUMNS})


def look_up(row: OrmQ, key: str) -> str | None:
    """One value of a queued task, as text."""
    value = look_into(row).get(key)
    if isinstance(value, str):
        return glance.whole(value)
    return None if value is None else glance.show(value)


def look_into(row: OrmQ) -> Mapping[str, Any]:
    """The task in a row of the list, which leaves large packages in the database."""
    package = getattr(row, "package", None)
    return (
        {"id": str(_("too large to be shown"))}
        if package == ""
        else peek(package or row.payload)
    )
