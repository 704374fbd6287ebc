"""Attempt: one run of a task that did not simply succeed at once."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_q.models.task import Task


class Attempt(models.Model):
    """A run that failed, or that came after one. Never changes.

    A task that succeeds at its first run has none: its row says all there is to say.
    """

    id = models.BigAutoField(verbose_name="ID", primary_key=True)
    task = models.ForeignKey(
        Task,
        # It is here before the task's row, and whoever deletes that need not know of it.
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="attempts",
        verbose_name=_("Task"),
    )
    number = models.IntegerField(verbose_name=_("attempt"))
    worker = models.CharField(verbose_name=_("worker"), max_length=100)
    """Host and process; empty if it died, as the error then says."""

    started = models.DateTimeField(verbose_name=_("started"), null=True)
    """When the function was called, unlike the task's own; None if nobody knows."""

    stopped = models.DateTimeField(verbose_name=_("stopped"))
    success = models.BooleanField(verbose_name=_("success"))
    error = models.TextField(verbose_name=_("error"), blank=True)

    class Meta:
        app_label = "django_q"
        verbose_name = _("Attempt")
        verbose_name_plural = _("Attempts")
        ordering = ("number",)
        constraints = (
            models.UniqueConstraint(
                fields=["task", "number"], name="django_q_attempt_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.task_id} {self.number}"
