"""VitalSign: what a cluster says of itself, where the database is the broker."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class VitalSign(models.Model):
    """A short-lived text under a key, signed by the cluster that wrote it."""

    key = models.CharField(verbose_name=_("key"), max_length=150, primary_key=True)
    payload = models.TextField(verbose_name=_("payload"))
    expires = models.DateTimeField(verbose_name=_("expires"))

    class Meta:
        app_label = "django_q"
        verbose_name = _("Vital sign")
        verbose_name_plural = _("Vital signs")

    def __str__(self) -> str:
        return self.key
