"""What happens by itself when a document is saved."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from django_q.tasks import async_task
from library.models import Document
from library.tasks import index


@receiver(post_save, sender=Document)
def document_saved(instance: Any, **_: Any) -> None:
    """Text and task are in one database: both appear at once."""
    async_task(index, instance.pk, group="index")
