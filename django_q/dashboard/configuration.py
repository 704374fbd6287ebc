"""The settings in force and where each comes from, without their secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from django_q import __version__
from django_q.conf import CONF_NAMES, Conf
from django_q.logs import clean
from django_q.options import Options

MASK: Final = "********"
"""Stands for a secret."""

AUTOMATIC: Final = frozenset({"bulk", "queue_limit"})
"""Shown only where they are set: what Conf has else is for code that wants a number."""

SECRET: Final = re.compile(r"pass|pwd|secret|token|auth|credential|key", re.IGNORECASE)
"""Names whose values nobody should read on a screen or in a log."""

USER_IN_URL: Final = re.compile(r"//[^/@\s]+@")
SECRET_IN_URL: Final = re.compile(
    r"(?<=[?&])(\w*pass\w*|\w*token\w*)=[^&\s]*", re.IGNORECASE
)


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


def mask(name: str, value: Any) -> Any:
    """The value with every secret in it replaced."""
    if isinstance(value, Mapping):
        return {key: mask(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [mask(name, inner) for inner in value]
    if value and SECRET.search(name):
        return MASK
    if isinstance(value, str):
        value = USER_IN_URL.sub(f"//{MASK}@", value)
        return SECRET_IN_URL.sub(rf"\1={MASK}", value)
    return value


def _origin(option: str, given: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    if option == "cluster_name" and environ.get("Q_CLUSTER_NAME"):
        return "environment"
    return "Q_CLUSTER" if option in given else "default"
