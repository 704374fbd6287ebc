"""The tour as a Django app."""

from __future__ import annotations

from django.apps import AppConfig


class TourConfig(AppConfig):
    name = "tour"
