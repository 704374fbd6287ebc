"""Arguments of schedules: literals become values, everything else a clear error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_q.models.literals import LENGTH_LIMIT, parse_args, parse_kwargs


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (None, ()),
        ("", ()),
        ("  \n ", ()),
        ("5", (5,)),
        ("1, 'a'", (1, "a")),
        ("(1, 2)", (1, 2)),
        ("((1, 2),)", ((1, 2),)),
        ("[1, 2]", ([1, 2],)),
        ("'a b'", ("a b",)),
        ("{'a': 1}", ({"a": 1},)),
        ("None", (None,)),
        ("-1.5, True, b'x', {1}", (-1.5, True, b"x", {1})),
        (" 1,\n 2 ", (1, 2)),
        ("()", ()),
    ],
)
def test_positional_arguments_are_read(text: str | None, value: Any):
    assert parse_args(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (None, {}),
        ("", {}),
        ("x=1, y='a'", {"x": 1, "y": "a"}),
        ("{'x': 1, 'y': [2]}", {"x": 1, "y": [2]}),
        ("({'x': 1})", {"x": 1}),
        ("( {'x': 1}\n)  # two", {"x": 1}),
        ("x = 1,\n y = {'z': (1, 2)},", {"x": 1, "y": {"z": (1, 2)}}),
        ("x=1  # how many", {"x": 1}),
        ("{}", {}),
        ("q_options={'group': 'g'}", {"q_options": {"group": "g"}}),
        ("{'not an identifier': 1}", {"not an identifier": 1}),
    ],
)
def test_keyword_arguments_are_read(text: str | None, value: Any):
    assert parse_kwargs(text) == value


HOSTILE = [
    "open('x')",
    "__import__('os').system('true')",
    "().__class__",
    "name",
    "lambda: 1",
    "[x for x in (1, 2)]",
    "f'{1}'",
    "9**9**9",
    "1 if 1 else 2",
    "*(1, 2)",
    "(" * 5000,
    "[" * 60 + "]" * 60,
    "(" * (LENGTH_LIMIT - 9),
    "-" * (LENGTH_LIMIT - 9) + "1",
    "1+" * (LENGTH_LIMIT // 2 - 9) + "1",
    "1" * 5000,
    "'" + "x" * LENGTH_LIMIT + "'",
    "1,,",
    "'",
    "\0",
    "'\ud800'",
    "import os",
    "a = 1; b = 2",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_anything_but_literals_is_refused(text: str):
    with pytest.raises(ValueError, match="arguments do not parse") as caught:
        parse_args(text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text",
    [
        *(text for text in HOSTILE if not text.startswith("a = 1")),
        *(f"x={text}" for text in HOSTILE),
        "5",
        "(5)",
        "({1: 2})",
        "'a', x=1",
        "x=1)(y=2",
        "x=1) + (2",
        "x=1, x=2",
        "**{'x': 1}",
        "{1: 2}",
        "{'a', 'b'}",
        "{'a': }",
        "{**{'a': 1}}",
        "{'a': 1}.copy()",
        "d=datetime.date(2026, 1, 1)",
    ],
)
def test_anything_but_keywords_with_literals_is_refused(text: str):
    with pytest.raises(ValueError, match="arguments do not parse") as caught:
        parse_kwargs(text)
    assert len(str(caught.value)) < 500


def test_long_lists_are_read():
    numbers = list(range(15_000))
    assert parse_args(f"{numbers}, 1") == (numbers, 1)
    assert parse_kwargs(f"ids={numbers}") == {"ids": numbers}


def test_refusal_says_what_is_wrong_and_what_to_write():
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text follows
        parse_kwargs("x=date(2026, 1, 1)")
    assert str(caught.value) == (
        "arguments do not parse: only plain values are allowed, no names or calls."
        " Write them like size=3, name='x'"
    )


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(plain, max_size=5).map(tuple))
def test_repr_of_plain_arguments_is_read_back(args: tuple[Any, ...]):
    assert parse_args(str(args)) == args


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_repr_of_plain_keywords_is_read_back(kwargs: dict[str, Any]):
    assert parse_kwargs(str(kwargs)) == kwargs


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_value_error(text: str):
    for parse in (parse_args, parse_kwargs):
        try:
            parse(text)
        except ValueError as error:
            assert "arguments do not parse" in str(error)  # noqa: PT017 - or no error
