"""OrmQ: one queued task, where the database is the broker."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from django.core.signing import BadSignature
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_q.callables import name_of
from django_q.exceptions import ConfigurationError
from django_q.models import glance
from django_q.signing import SignedPackage

OWN_COLUMNS: Final = frozenset({"id", "name", "group", "func", "args", "kwargs"})
"""What is shown for itself; everything else in a task's dict is an option."""


class OrmQ(models.Model):
    """A signed package in a queue. It can be claimed once `lock` is past.

    A release before ours inserts rows with the first four columns only: each of the
    others has a default in the database, or may be null.
    """

    key = models.CharField(verbose_name=_("queue"), max_length=100)
    payload = models.TextField(verbose_name=_("payload"))
    lock = models.DateTimeField(
        verbose_name=_("locked until"),
        null=True,
        help_text=_("Clusters leave the task alone until then; never if empty"),
    )
    holder = models.CharField(  # noqa: DJ001 - an older release inserts no value
        verbose_name=_("held by"), max_length=32, null=True, editable=False
    )
    """Id of the cluster that leases the task; None while it waits."""

    deliveries = models.IntegerField(
        verbose_name=_("deliveries"), default=0, db_default=0, editable=False
    )
    """Claims so far. With the holder it fences: a receipt names this number."""

    starts = models.IntegerField(
        verbose_name=_("starts"), default=0, db_default=0, editable=False
    )
    """Starts that ended with their worker, or were counted before they happened."""

    rescues = models.IntegerField(
        verbose_name=_("rescues"), default=0, db_default=0, editable=False
    )
    """How often it was freed from a dead cluster."""

    attempts = models.IntegerField(
        verbose_name=_("failed runs"), default=0, db_default=0, editable=False
    )
    """Runs that ended in failure and are to be repeated."""

    task_key = models.CharField(  # noqa: DJ001 - an older release inserts no value
        verbose_name=_("task id"),
        max_length=32,
        null=True,
        editable=False,
        db_column="task_id",
    )
    """Id of the task: queued twice, it is queued once. `task_id` is a method, so the
    attribute has another name than its column."""

    priority = models.IntegerField(
        verbose_name=_("priority"), default=0, db_default=0, editable=False
    )
    """Those with a higher one are claimed first."""

    class Meta:
        app_label = "django_q"
        verbose_name = _("Queued task")
        verbose_name_plural = _("Queued tasks")
        indexes = (
            models.Index(
                fields=["key", "priority", "lock", "id"], name="django_q_ormq_order"
            ),
        )
        constraints = (
            models.UniqueConstraint(fields=["task_key"], name="django_q_ormq_once"),
        )

    def __str__(self) -> str:
        return f"{self.key} {self.pk}"

    @cached_property
    def task(self) -> dict[str, Any]:
        """The task's dict, opened. If it can't be, its id names the error."""
        try:
            task = SignedPackage.loads(self.payload)
        except BadSignature:
            return {"id": "*BadSignature"}
        except Exception as error:  # noqa: BLE001 - loading runs whatever is in there
            return {"id": f"*{type(error).__name__}"}
        return task if isinstance(task, dict) else {"id": "*TypeError"}

    def task_id(self) -> str | None:
        """Id of the task, or the error that kept it from being opened."""
        return self.task.get("id")

    def name(self) -> str | None:
        """Name of the task."""
        return self.task.get("name")

    def group(self) -> str | None:
        """Group of the task."""
        return self.task.get("group")

    def func(self) -> str | None:
        """The function as rows and log lines call it."""
        func = self.task.get("func")
        return None if func is None else name_of(func)

    def args(self) -> Any:
        """Positional arguments of the task."""
        return self.task.get("args")

    def kwargs(self) -> Any:
        """Keyword arguments of the task."""
        return self.task.get("kwargs")

    def q_options(self) -> dict[str, Any]:
        """Everything else in the task's dict."""
        return {k: v for k, v in self.task.items() if k not in OWN_COLUMNS}


def peek(package: str) -> Mapping[str, Any]:
    """The task in a package as far as it can be seen without loading it.

    For people to look at. When there is nothing to see, its id names the error.
    """
    try:
        task = glance.read(SignedPackage.verify(package))
    except BadSignature:
        return {"id": "*BadSignature"}
    except (ValueError, ConfigurationError) as error:
        return {"id": f"*{type(error).__name__}"}
    return task if isinstance(task, dict) else {"id": "*TypeError"}
