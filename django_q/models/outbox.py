"""OutboxEntry: one task on its way to a broker outside the database."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class OutboxEntry(models.Model):
    """A signed package that was written in its caller's transaction, and is not sent yet.

    All moments are by the database's clock.
    """

    id = models.BigAutoField(verbose_name="ID", primary_key=True)
    task_id = models.CharField(verbose_name=_("task id"), max_length=32)
    queue = models.CharField(verbose_name=_("queue"), max_length=255)
    package = models.TextField(verbose_name=_("payload"))
    created = models.DateTimeField(verbose_name=_("created"))
    due = models.DateTimeField(verbose_name=_("next try"))
    """Until then the clusters leave it alone: somebody is sending it, or it was refused."""

    tries = models.IntegerField(verbose_name=_("failed tries"), default=0)
    error = models.TextField(verbose_name=_("error"), blank=True, default="")
    """What the broker said to the last try of a cluster."""

    once = models.BooleanField(null=True, editable=False)
    """A slot of a schedule: the broker, if it can, knows its id when it has ended. Not
    known of what an earlier release has written.
    """

    class Meta:
        app_label = "django_q"
        db_table = "django_q_outbox"
        verbose_name = _("Task in the outbox")
        verbose_name_plural = _("Tasks in the outbox")
        indexes = (models.Index(fields=["due", "id"], name="django_q_outbox_due"),)
        constraints = (
            models.UniqueConstraint(fields=["task_id"], name="django_q_outbox_once"),
        )

    def __str__(self) -> str:
        return f"{self.task_id} for {self.queue}"
