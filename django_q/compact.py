"""Compact: JSON as it travels between the processes of a cluster."""

from __future__ import annotations

import json
from typing import Any, Final

ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)
"""json.dumps makes a new one each time."""


def to_json(value: Any) -> bytes:
    """Lists, dicts, text and numbers that don't contain themselves, as JSON."""
    return ENCODER.encode(value).encode()
