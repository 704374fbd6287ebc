"""Report: what a report's hook has kept."""

from __future__ import annotations

from django.db import models


class Report(models.Model):
    """A finished report; `lines` are its rows."""

    task_id = models.CharField(max_length=32, unique=True)
    lines = models.JSONField(default=list)
    made = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Report of {self.made:%Y-%m-%d %H:%M}"

    @property
    def text(self) -> str:
        """The report as a letter."""
        rows = (
            "{runs:6,} x {func}, {failures} failed, {mean:.2f} s".format(**line)
            for line in self.lines
        )
        return "\n".join(rows)
