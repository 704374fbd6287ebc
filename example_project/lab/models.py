"""What the experiments leave: knocks at a door, and how far a countdown is."""

from __future__ import annotations

from django.db import models


class Door(models.Model):
    """A door that somebody knocks at."""

    knocks = models.PositiveSmallIntegerField(default=0)

    def __str__(self) -> str:
        return f"Door {self.pk}, {self.knocks} knocks"


class Countdown(models.Model):
    """A long task's report of its progress."""

    total = models.PositiveSmallIntegerField()
    done = models.PositiveSmallIntegerField(null=True)
    """Steps done; nothing before the first one has begun."""

    def __str__(self) -> str:
        return f"{self.done or 0} of {self.total}"
