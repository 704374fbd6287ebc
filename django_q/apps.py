"""The app: its name in the admin, its checks, and the hook of saved tasks."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_save

from django_q.checks import register_checks
from django_q.conf import get_options


class DjangoQConfig(AppConfig):
    """Knows nothing of clusters; a project that only enqueues loads no more than this."""

    name = "django_q"
    label = "django_q"
    default_auto_field = "django.db.models.AutoField"

    def __init__(self, app_name: str, app_module: Any) -> None:
        # A subclass may name the app itself; else the setting does, read when the
        # project loads its apps and not when this module is imported.
        if not hasattr(self, "verbose_name"):
            self.verbose_name = get_options().label
        super().__init__(app_name, app_module)

    def ready(self) -> None:
        """Register the checks and connect `call_hook`, which others may disconnect."""
        register_checks()
        # Models can't be imported before the apps are loaded; here they are.
        models: Any = self.models_module
        # Under no other name than its own, by which others disconnect it.
        post_save.connect(models.call_hook, sender=models.Task)
