"""The density estimate as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class DensityConfig(AppConfig):
    name = "density"
