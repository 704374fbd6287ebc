"""The column of arguments and results."""

from __future__ import annotations

from base64 import b64decode
from contextlib import suppress
from typing import Any

from picklefield.fields import PickledObjectField

from django_q.signing import PickleSerializer


class StoredObjectField(PickledObjectField):  # type: ignore[misc] # it has no types
    """PickledObjectField that also reads what it can't any more: dates with pytz.

    To migrations it is the field that it has always been.
    """

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, _path, args, kwargs = super().deconstruct()
        return name, "picklefield.fields.PickledObjectField", args, kwargs

    def to_python(self, value: Any) -> Any:
        found = super().to_python(value)
        if found is value and isinstance(value, str):
            with suppress(Exception):
                return PickleSerializer.loads(b64decode(value, validate=True))
        return found
