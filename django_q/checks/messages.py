"""What a check says, and the settings that it judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as WarningMessage


@dataclass(frozen=True, kw_only=True)
class Site:
    """The settings that the checks judge."""

    raw: Any
    """Q_CLUSTER, whatever it is."""

    databases: Mapping[str, Any]
    caches: Mapping[str, Any]
    logging: Mapping[str, Any]
    secret_key: str
    results: str = "default"
    """Alias of the database that has the results."""


def error(number: str, message: str, hint: str) -> CheckMessage:
    return Error(message, hint=hint, id=f"django_q.{number}")


def warning(number: str, message: str, hint: str) -> CheckMessage:
    return WarningMessage(message, hint=hint, id=f"django_q.{number}")
