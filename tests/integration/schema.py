"""A small judge of JSON: as much of JSON Schema as our schemas say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def find_faults(value: Any, schema: dict[str, Any], where: str = "$") -> Iterator[str]:
    """Everything in which the value is not as the schema says."""
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}, none of {schema['enum']}"
    if "type" in schema and not is_a(value, schema["type"]):
        yield f"{where} is {value!r}, no {schema['type']}"
    elif isinstance(value, dict):
        yield from find_faults_of_object(value, schema, where)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from find_faults(inner, schema["items"], f"{where}[{index}]")


def find_faults_of_object(
    value: dict[str, Any], schema: dict[str, Any], where: str
) -> Iterator[str]:
    for name in schema["required"]:
        if name not in value:
            yield f"{where} lacks {name!r}"
    for name, inner in value.items():
        if name in schema["properties"]:
            below = schema["properties"][name]
            yield from find_faults(inner, below, f"{where}.{name}")
        else:
            yield f"{where} has an unknown {name!r}"


def is_a(value: Any, names: str | list[str]) -> bool:
    allowed = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in allowed
    return any(isinstance(value, TYPES[name]) for name in allowed)
