"""Masks: what is shown of settings that hold secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "********"
"""Stands for a secret."""

SECRET: Final = re.compile(r"pass|pwd|secret|token|auth|credential|key", re.IGNORECASE)
"""Names whose values nobody should read on a screen or in a log."""

USER_IN_URL: Final = re.compile(r"//.*@", re.DOTALL)
"""Up to the last @: a password that should have been quoted may hold any character."""

SECRET_IN_URL: Final = re.compile(
    r"(?<=[?&])(\w*pass\w*|\w*token\w*)=[^&\s]*", re.IGNORECASE
)


def mask(name: str, value: Any) -> Any:
    """The value with every secret in it replaced."""
    if isinstance(value, Mapping):
        return {key: mask(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        masked = [mask(name, inner) for inner in value]
        return tuple(masked) if isinstance(value, tuple) else masked
    if value and SECRET.search(name):
        return MASK
    if isinstance(value, str):
        value = USER_IN_URL.sub(f"//{MASK}@", value)
        return SECRET_IN_URL.sub(rf"\1={MASK}", value)
    return value
