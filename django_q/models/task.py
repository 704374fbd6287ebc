"""Task: what came of a task, with its two faces, Success and Failure."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_q.logs import print_safely
from django_q.models.stored import StoredObjectField

ID_LENGTH = 32
SHORT_RESULT = 100


class Task(models.Model):
    """One ended task. Its row is written when it is done, failed or given up."""

    id = models.CharField(
        verbose_name=_("ID"), max_length=ID_LENGTH, primary_key=True, editable=False
    )
    name = models.CharField(verbose_name=_("name"), max_length=100, editable=False)
    func = models.CharField(verbose_name=_("function"), max_length=256)
    hook = models.CharField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("hook"), max_length=256, null=True
    )
    args: Any = StoredObjectField(verbose_name=_("arguments"), null=True, protocol=-1)
    kwargs: Any = StoredObjectField(
        verbose_name=_("keyword arguments"), null=True, protocol=-1
    )
    result: Any = StoredObjectField(verbose_name=_("result"), null=True, protocol=-1)
    group = models.CharField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("group"), max_length=100, null=True, editable=False
    )
    cluster = models.CharField(  # noqa: DJ001 - the schema is that of all releases
        verbose_name=_("cluster"), max_length=100, null=True, blank=True, default=None
    )
    started = models.DateTimeField(verbose_name=_("started"), editable=False)
    stopped = models.DateTimeField(verbose_name=_("stopped"), editable=False)
    success = models.BooleanField(
        verbose_name=_("success"), default=True, editable=False
    )
    attempt_count = models.IntegerField(verbose_name=_("attempts"), default=0)

    class Meta:
        app_label = "django_q"
        verbose_name = _("Task")
        verbose_name_plural = _("Tasks")
        ordering = ("-stopped",)
        indexes = (
            models.Index(
                fields=["group", "name", "func"],
                name="success_index",
                condition=models.Q(success=True),
            ),
        )

    def __str__(self) -> str:
        return self.name or self.id

    @staticmethod
    def get_result(task_id: str) -> Any:
        """The result of a task by its id or name; None without a row.

        The text of the error, if it failed. Raises MultipleObjectsReturned when several
        tasks have the name.
        """
        task = _find(task_id)
        return None if task is None else task.result

    @staticmethod
    def get_task(task_id: str) -> Task | None:
        """A task by its id or name; None without a row.

        Raises MultipleObjectsReturned when several tasks have the name.
        """
        return _find(task_id)

    @staticmethod
    def get_result_group(
        group_id: str,
        failures: bool = False,
    ) -> models.QuerySet[Task, Any]:
        """The results of a group; `failures` adds the errors of those that failed."""
        return Task.get_task_group(group_id, failures).values_list("result", flat=True)

    @staticmethod
    def get_task_group(
        group_id: str,
        failures: bool = True,
    ) -> models.QuerySet[Task]:
        """The tasks of a group, with those that failed unless told otherwise."""
        rows = Task.objects.filter(group=group_id)
        return rows if failures else rows.filter(success=True)

    @staticmethod
    def get_group_count(
        group_id: str,
        failures: bool = False,
    ) -> int:
        """How many tasks a group has, or how many of them failed."""
        rows = Task.objects.filter(group=group_id)
        return (rows.filter(success=False) if failures else rows).count()

    @staticmethod
    def delete_group(
        group_id: str,
        objects: bool = False,
    ) -> int | tuple[int, dict[str, int]]:
        """Take the label off a group and give the number of its tasks.

        With `objects` the tasks themselves go, and it gives what Django's delete does.
        """
        rows = Task.objects.filter(group=group_id)
        return rows.delete() if objects else rows.update(group=None)

    def group_result(
        self,
        failures: bool = False,
    ) -> models.QuerySet[Task, Any] | None:
        """The results of this task's group; None without a group."""
        return self.get_result_group(self.group, failures) if self.group else None

    def group_count(
        self,
        failures: bool = False,
    ) -> int | None:
        """How many tasks this task's group has; None without a group."""
        return self.get_group_count(self.group, failures) if self.group else None

    def group_delete(
        self,
        tasks: bool = False,
    ) -> int | tuple[int, dict[str, int]] | None:
        """Take the label off this task's group, or delete its tasks."""
        return self.delete_group(self.group, tasks) if self.group else None

    def time_taken(self) -> float:
        """Seconds from being queued to being done."""
        return (self.stopped - self.started).total_seconds()

    time_taken.short_description = _("time taken")  # type: ignore[attr-defined]

    @property
    def short_result(self) -> str:
        """The first characters of the result, as text."""
        return print_safely(self.result)[:SHORT_RESULT]


def _find(task_id: str) -> Task | None:
    """A task by its id, if this can be one, else by its name."""
    if len(task_id) == ID_LENGTH:
        found = Task.objects.filter(id=task_id).first()
        if found is not None:
            return found
    try:
        return Task.objects.get(name=task_id)
    except Task.DoesNotExist:
        return None


class SuccessManager(models.Manager["Success"]):
    """Only tasks that succeeded."""

    def get_queryset(self) -> models.QuerySet[Success]:
        return super().get_queryset().filter(success=True)


class Success(Task):
    """A task that succeeded."""

    objects: ClassVar[SuccessManager] = SuccessManager()

    class Meta:
        app_label = "django_q"
        proxy = True
        verbose_name = _("Successful task")
        verbose_name_plural = _("Successful tasks")
        ordering = ("-stopped",)


class FailureManager(models.Manager["Failure"]):
    """Only tasks that failed."""

    def get_queryset(self) -> models.QuerySet[Failure]:
        return super().get_queryset().filter(success=False)


class Failure(Task):
    """A task that failed for good; its result is the text of the error."""

    objects: ClassVar[FailureManager] = FailureManager()

    class Meta:
        app_label = "django_q"
        proxy = True
        verbose_name = _("Failed task")
        verbose_name_plural = _("Failed tasks")
        ordering = ("-stopped",)
