"""The app: its name in the admin, its checks, and the hook of saved tasks."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save, pre_migrate

from django_q.checks import register_checks
from django_q.conf import get_options


class DjangoQConfig(AppConfig):
    """Knows nothing of clusters; a project that only enqueues loads no more than this."""

    name = "django_q"
    label = "django_q"
    default_auto_field = "django.db.models.AutoField"

    migrating: frozenset[str] = frozenset()
    """The databases that `migrate` works on at the moment."""

    def __init__(self, app_name: str, app_module: Any) -> None:
        # A subclass may name the app itself; else the setting does, read when the
        # project loads its apps and not when this module is imported.
        if not hasattr(self, "verbose_name"):
            self.verbose_name = get_options().label
        super().__init__(app_name, app_module)

    def ready(self) -> None:
        """Register the checks; connect `call_hook`, which others may disconnect."""
        register_checks()
        # Models can't be imported before the apps are loaded; here they are.
        models: Any = self.models_module
        # Under no other name than its own, by which others disconnect it.
        post_save.connect(models.call_hook, sender=models.Task)
        pre_migrate.connect(self._begin_migrating, sender=self)
        post_migrate.connect(self._end_migrating, sender=self)

    def _begin_migrating(self, using: str, **_facts: Any) -> None:
        self.migrating |= {using}

    def _end_migrating(self, using: str, **_facts: Any) -> None:
        self.migrating -= {using}
