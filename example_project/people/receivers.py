"""What happens by itself when a user is saved."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models.signals import pre_save
from django.dispatch import receiver

from django_q.tasks import async_task
from people.tasks import tell_everyone


@receiver(pre_save, sender=settings.AUTH_USER_MODEL)
def address_changed(sender: Any, instance: Any, **_: Any) -> None:
    """A changed e-mail address is news for everyone."""
    before = sender.objects.filter(pk=instance.pk).first()
    old, new = before.email if before else "", instance.email
    if old and old != new:
        async_task(tell_everyone, instance.pk, old, new)
