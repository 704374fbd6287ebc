"""Looking into pickles: values are shown, and nothing is ever imported or run."""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import functools
import os
import pickle
import sys
import uuid
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from django_q.models import glance


class Colour(enum.Enum):
    RED = "red"


class Basket(list[Any]):
    """A list of our own."""


class Slotted:
    __slots__ = ("secret",)

    def __init__(self) -> None:
        self.secret = "hunter2"


class Own(dict[Any, Any]):
    """A dictionary of our own."""


class Odd:
    """Its state is no dictionary."""

    def __getstate__(self) -> Any:
        return 5

    def __setstate__(self, state: Any) -> None:
        """It needs none."""


class Bomb:
    """Loading it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def shown(value: Any, protocol: int = -1) -> str:
    return glance.show(glance.read(pickle.dumps(value, protocol)))


def stored(value: Any, protocol: int = -1) -> str:
    return base64.b64encode(pickle.dumps(value, protocol)).decode()


MOMENT = datetime.datetime(2026, 5, 12, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -5,
        1.5,
        "text",
        b"bytes",
        [1, (2, {3: [4]})],
        {5},
        frozenset({6}),
        MOMENT,
        datetime.date(2026, 5, 12),
        datetime.timedelta(days=1),
        decimal.Decimal("1.50"),
    ],
)
def test_plain_values_are_shown_as_they_are(value: Any):
    assert shown(value) == repr(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Colour.RED, f"{__name__}.Colour('red')"),
        (Basket([1, 2]), f"{__name__}.Basket(1, 2)"),
        (Own({"a": 1, (2, 3): 4}), f"{__name__}.Own(a=1, (2, 3)=4)"),
        (Odd(), f"{__name__}.Odd(...)"),
        (Slotted(), f"{__name__}.Slotted(...)"),
        (uuid.UUID(int=7), "uuid.UUID(int=7)"),
        (ValueError("no"), "builtins.ValueError('no')"),
        (os.path.join, "posixpath.join"),
        (User, "django.contrib.auth.models.User"),
        (User.from_db, "django.contrib.auth.models.User.from_db"),
        (User(id=3, password="hash").get_username, "auth.User(id=3, ...).get_username"),
        ({"user": User(id=3, password="hash")}, "{'user': auth.User(id=3, ...)}"),
        (functools.partial(int), "functools.partial(builtins.int, ...)"),
    ],
)
def test_objects_of_classes_are_named_and_their_attributes_left_out(
    value: Any, text: str
):
    assert shown(value) == text


def test_moment_in_a_zone_that_is_not_loaded_is_shown_somehow():
    berlin = MOMENT.astimezone(ZoneInfo("Europe/Berlin"))
    assert shown(berlin).startswith("datetime.datetime(")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_nothing_in_a_pickle_is_run(protocol: int, tmp_path: Path):
    data = pickle.dumps(Bomb(tmp_path / "touched"), protocol)
    glance.show(glance.read(data))
    assert not (tmp_path / "touched").exists()
    pickle.loads(data)
    assert (tmp_path / "touched").exists()


def test_nothing_in_a_pickle_is_imported():
    data = b"\x80\x04\x8c\x04this\x8c\x01s\x93."
    assert glance.show(glance.read(data)) == "this.s"
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x05.",
        b"no pickle at all",
        pickle.dumps("cut")[:-4],
        b"\x80\x04\x8c\x01a\x8c\x01b\x93]b.",
        b"P1\n.",
        b"\x80\x04]}K\x01s0.",
        b"\x80\x04}]K\x01s.",
    ],
)
def test_what_is_no_pickle_is_refused(data: bytes):
    with pytest.raises(ValueError, match="not a readable pickle"):
        glance.read(data)


@pytest.mark.parametrize(
    "data",
    [
        *map(pickle.dumps, ["a\ud800b", ["\ud800"], {"\ud800": 1}]),
        b"\x80\x04\x8c\x01a\x8c\x03\xed\xa0\x80\x93)\x81.",
    ],
)
def test_half_characters_are_shown_so_that_a_page_can_hold_them(data: bytes):
    assert "\\ud800" in glance.show_text(data)
    assert glance.show_text(data).encode()


def test_value_that_would_fill_the_memory_is_cut():
    layers: Any = "ha"
    for _ in range(30):
        layers = [layers] * 10
    assert len(shown(layers)) <= glance.LENGTH_SHOWN


def test_object_made_of_objects_without_end_is_cut():
    layers: Any = Basket([1])
    for _ in range(30):
        layers = Basket([layers] * 3)
    assert len(shown(layers)) <= glance.LENGTH_SHOWN


def test_large_value_is_cut():
    for value in (10**6000, "x" * 50_000, list(range(5000))):
        assert len(shown(value)) < 5000


def test_value_inside_itself_is_cut():
    inner: list[Any] = [1]
    inner.append(inner)
    assert "..." in shown(inner)


# ------------------------------------------------------------- text by its beginning


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("text", ["", "boom", "x" * 300, "x" * 70_000, "é" * 200, "🙂"])
def test_text_is_read_from_the_beginning_of_its_column(text: str, protocol: int):
    assert glance.read_text(stored(text, protocol)[:800], 100) == text[:100]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400))
def test_any_text_is_read_from_the_beginning_of_its_column(text: str):
    assert glance.read_text(stored(text)[:800], 100) == text[:100]


@pytest.mark.parametrize(
    "column",
    [
        "",
        "!",
        "é",
        "not base64 …",
        stored(5),
        stored(["boom"]),
        stored("x", 0),
        "gAV=",
        stored(User),
        stored(KeyError("x")),
    ],
)
def test_what_is_no_text_is_not_read(column: str):
    assert glance.read_text(column, 100) is None


def test_text_that_no_database_could_write_is_read_without_it():
    assert glance.read_text(stored("a\ud800b"), 100) == "ab"
