"""Run: which task or group an example started last."""

from __future__ import annotations

from django.db import models


class Run(models.Model):
    """The latest run of one example; `reference` is what its `look` needs."""

    slug = models.SlugField(primary_key=True)
    reference = models.CharField(max_length=100)
    started = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.slug}: {self.reference}"
