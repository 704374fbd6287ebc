"""The app: its name in the admin."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.checks.registry import registry

import django_q
from django_q.apps import DjangoQConfig
from django_q.checks import check_settings


class Renamed(DjangoQConfig):
    """A project's own."""

    verbose_name = "Background work"


def test_app_is_called_as_the_setting_says(q_settings: Any):
    assert apps.get_app_config("django_q").verbose_name == "Django Q"
    q_settings(label="Errands")
    assert DjangoQConfig("django_q", django_q).verbose_name == "Errands"


def test_project_may_name_the_app_itself(q_settings: Any):
    q_settings(label="Errands")
    assert Renamed("django_q", django_q).verbose_name == "Background work"


def test_ids_have_the_type_of_all_releases():
    app = apps.get_app_config("django_q")
    assert app.default_auto_field == "django.db.models.AutoField"
    kinds = {
        model.__name__: model._meta.pk.get_internal_type()  # noqa: SLF001 - public by Django's docs
        for model in app.get_models()
    }
    assert kinds["Schedule"] == kinds["OrmQ"] == "AutoField"
    assert kinds["Task"] == kinds["Success"] == kinds["Failure"] == "CharField"


def test_checks_run_with_those_of_the_project():

    registered: set[Any] = set(registry.get_checks())
    assert check_settings in registered
