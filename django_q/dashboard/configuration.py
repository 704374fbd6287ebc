"""The settings in force and where each comes from, without their secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from django_q import __version__
from django_q.conf import CONF_NAMES, Conf
from django_q.logs import clean
from django_q.masking import mask
from django_q.options import Options

AUTOMATIC: Final = frozenset({"bulk", "queue_limit"})
"""Shown only where they are set: what Conf has else is for code that wants a number."""


def list_settings(environ: Mapping[str, str]) -> Iterator[str]:
    """`VERSION: 1.0.0`, then `NAME: value  # origin` for all that have a value."""
    yield f"VERSION: {__version__}"
    given = Conf.conf
    names = {option: name for name, option in CONF_NAMES.items()}
    for option in fields(Options):
        name = names.get(option.name, option.name.upper())
        value = getattr(Conf, name)
        is_automatic = option.name in AUTOMATIC and option.name not in given
        if value is not None and not is_automatic:
            origin = _origin(option.name, given, environ)
            yield f"{name}: {clean(mask(option.name, value), 1000)}  # {origin}"


def _origin(option: str, given: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    if option == "cluster_name" and environ.get("Q_CLUSTER_NAME"):
        return "environment"
    return "Q_CLUSTER" if option in given else "default"
