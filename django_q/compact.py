"""Compact: JSON as it travels between the processes of a cluster."""

from __future__ import annotations

import json
from typing import Any, Final

ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False)
"""json.dumps makes a new one each time."""

DECODER: Final = json.JSONDecoder()


def to_json(value: Any) -> bytes:
    """Lists, dicts, text and numbers that don't contain themselves, as JSON."""
    return ENCODER.encode(value).encode()


def from_json(data: bytes) -> Any:
    """What `to_json` was given; tuples as lists."""
    # json.loads would first find out how this is encoded.
    return DECODER.decode(data.decode())
