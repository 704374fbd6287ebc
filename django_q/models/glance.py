"""Looks at pickles without loading them: for lists and pages that people open.

Loading a pickle runs whatever it names; a page must not. Here nothing is imported:
plain values are read, and each object of a class becomes a stand-in that knows the
name of its class.
"""

from __future__ import annotations

import datetime
import decimal
import io
import pickle
import reprlib
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final, cast

VALUES_SHOWN: Final = 1000
LENGTH_SHOWN: Final = 10_000
"""Characters: no value is shown longer."""

STATE_SHOWN: Final = frozenset({"id", "int"})
"""Attributes that say which object it was: a row's number, a UUID."""

TEXT_OPCODES: Final = {0x8C: 1, 0x58: 4, 0x8D: 8}
"""The opcodes that hold text, and the bytes of its length."""

ENDINGS: Final = (b"\x94.", b"q\x00.", b".")
"""What comes after a text that is all there is in its pickle."""

PROTOCOL, FRAME = 0x80, 0x95


class Named(type):
    """A class that was not imported. Its repr is its dotted path."""

    path: str

    def __repr__(cls) -> str:
        return cls.path


class StandIn(metaclass=Named):
    """An object that was not made: what it would have been made of."""

    path = "?"
    parts: list[Any]
    items: dict[str, Any]
    state: dict[str, Any]
    """Its attributes: few are shown, for the others may be nobody's business."""

    def __new__(cls, *args: Any, **_kwargs: Any) -> StandIn:
        self = super().__new__(cls)
        self.parts = list(args)
        self.items = {}
        self.state = {}
        return self

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Objects of the real class would take these; here they are kept."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:
            # The attributes of an object with slots come in a pair, as the second.
            state = state[1]
        self.state = state if isinstance(state, dict) else {"": state}

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key if isinstance(key, str) else show(key, 100)] = value

    def append(self, value: Any) -> None:
        self.parts.append(value)

    add = append

    def __call__(self, *args: Any, **_kwargs: Any) -> StandIn:
        return stand_in(f"{self.path}()")(*args)


def stand_in(path: str) -> type[StandIn]:
    """The class of stand-ins for the objects of one class."""
    return cast(type[StandIn], Named("StandIn", (StandIn,), {"path": path}))


def _attribute(owner: Any, name: Any) -> Any:
    """In place of `getattr`, by which methods are pickled."""
    return stand_in(f"{show(owner, 200)}.{name}")


def _model(label: Any) -> StandIn:
    """In place of the function by which Django's models are pickled."""
    return stand_in(".".join(map(str, label)))()


def _careful(function: Callable[..., Any], path: str) -> Callable[..., Any]:
    """A harmless class of the standard library, or its stand-in for odd arguments."""

    def make(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception:  # noqa: BLE001 - such as a time zone that is a stand-in
            return stand_in(path)(*args)

    return make


HARMLESS: Final[dict[str, Callable[..., Any]]] = {
    "builtins.getattr": _attribute,
    "datetime.date": _careful(datetime.date, "datetime.date"),
    "datetime.datetime": _careful(datetime.datetime, "datetime.datetime"),
    "datetime.time": _careful(datetime.time, "datetime.time"),
    "datetime.timedelta": _careful(datetime.timedelta, "datetime.timedelta"),
    "datetime.timezone": _careful(datetime.timezone, "datetime.timezone"),
    "django.db.models.base.model_unpickle": _model,
    "decimal.Decimal": _careful(decimal.Decimal, "decimal.Decimal"),
}


class Reader(pickle.Unpickler):
    """Reads a pickle, importing nothing."""

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        return HARMLESS.get(path) or stand_in(path)


class Shown(reprlib.Repr):
    """The repr of anything that Reader gives, bounded in length, depth and time."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 10
        self.maxlist = self.maxtuple = self.maxdict = 100
        self.maxset = self.maxfrozenset = 100
        self.maxstring = self.maxother = 2000
        self.left = VALUES_SHOWN

    def repr1(self, x: Any, level: int) -> str:
        self.left -= 1
        return super().repr1(x, level) if self.left >= 0 else self.fillvalue

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out a number of many thousand digits.
        return super().repr_int(x, level) if x.bit_length() < 5000 else self.fillvalue

    def repr_StandIn(self, x: StandIn, level: int) -> str:  # noqa: N802 - reprlib's way
        if level <= 0:
            return f"{x.path}({self.fillvalue})"
        parts = [self.repr1(part, level - 1) for part in x.parts[: self.maxlist]]
        known = {name: x.state[name] for name in STATE_SHOWN & x.state.keys()}
        named = list((x.items | known).items())[: self.maxdict]
        parts += [f"{name}={self.repr1(value, level - 1)}" for name, value in named]
        if x.state.keys() - known.keys():
            parts.append(self.fillvalue)
        return f"{x.path}({', '.join(parts)})"


def read(data: bytes) -> Any:
    """What a pickle holds, with stand-ins. Raises ValueError for what is none."""
    try:
        return Reader(io.BytesIO(data)).load()
    except Exception as error:
        message = f"not a readable pickle ({type(error).__name__})"
        raise ValueError(message) from error


def show(value: Any, limit: int = LENGTH_SHOWN) -> str:
    """A value that `read` gave as text of a bounded length."""
    text = whole(Shown().repr(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def show_text(data: bytes) -> str:
    """What a pickle holds, for people: a text as it is, all else as its repr.

    Raises ValueError for what is no pickle.
    """
    value = read(data)
    return whole(value) if isinstance(value, str) else show(value)


def whole(text: str) -> str:
    """Text without half characters, which no page can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def decode(stored: str) -> bytes:
    """The pickle in a column of a task. Raises ValueError for what is none."""
    return b64decode(stored)


def read_text(stored: str, limit: int) -> str | None:
    """The first characters of a text by the beginning of its column.

    None for what is no text; nothing else of the pickle is looked at.
    """
    try:
        data = decode(stored[: len(stored) // 4 * 4])
    except ValueError:
        return None
    position = _after_header(data)
    width = TEXT_OPCODES.get(data[position]) if position < len(data) else None
    if width is None:
        return None
    start = position + 1 + width
    end = start + int.from_bytes(data[position + 1 : start], "little")
    if not any(ending.startswith(data[end:]) for ending in ENDINGS):
        # The name of a class begins like this, too.
        return None
    return data[start:end].decode("utf-8", "ignore")[:limit]


def _after_header(data: bytes) -> int:
    """Where the first value of a pickle begins."""
    position = 2 if data[:1] == bytes([PROTOCOL]) else 0
    return position + 9 if data[position : position + 1] == bytes([FRAME]) else position
