"""PausedQueue: a queue from which nothing is taken, where the database is the broker."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class PausedQueue(models.Model):
    """Clusters claim nothing from a queue of this name while the row is there."""

    key = models.CharField(verbose_name=_("queue"), max_length=100, primary_key=True)

    class Meta:
        app_label = "django_q"
        verbose_name = _("Paused queue")
        verbose_name_plural = _("Paused queues")

    def __str__(self) -> str:
        return self.key
