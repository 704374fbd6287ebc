"""People as a Django app; its receivers are connected at start."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class PeopleConfig(AppConfig):
    name = "people"

    def ready(self) -> None:
        """The receivers need the models, which are loaded only now."""
        import_module("people.receivers")
