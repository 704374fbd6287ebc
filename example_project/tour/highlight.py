"""The source of a function as coloured HTML, with nothing but the tokenizer."""

from __future__ import annotations

import inspect
import io
import keyword
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

KINDS = {
    tokenize.COMMENT: "comment",
    tokenize.STRING: "string",
    tokenize.NUMBER: "number",
}
STRING_PARTS = {"FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END"}


@dataclass(frozen=True)
class Source:
    """Lines of a module: where they stand, and the lines."""

    file: str
    lines: SafeString


@cache
def source_of(function: Callable[..., Any]) -> Source:
    """The function's own lines, coloured."""
    source = inspect.getsource(function).rstrip()
    lines = format_html_join("", "{}", ((part,) for part in _coloured(source)))
    return Source(function.__module__.replace(".", "/") + ".py", lines)


def _coloured(source: str) -> Iterator[str]:
    """The text in pieces: what lies between two tokens stays as it is."""
    lines = source.splitlines(keepends=True)
    row, column = 1, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        yield _between(lines, (row, column), token.start)
        yield _wrapped(_kind(token), _between(lines, token.start, token.end))
        row, column = token.end


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The source from one position to another; rows count from 1."""
    if start[0] == end[0]:
        line = lines[start[0] - 1] if start[0] <= len(lines) else ""
        return line[start[1] : end[1]]
    first = lines[start[0] - 1][start[1] :]
    last = lines[end[0] - 1][: end[1]] if end[0] <= len(lines) else ""
    return first + "".join(lines[start[0] : end[0] - 1]) + last


def _kind(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME and keyword.iskeyword(token.string):
        return "keyword"
    if tokenize.tok_name[token.type] in STRING_PARTS:
        return "string"
    return KINDS.get(token.type, "")


def _wrapped(kind: str, text: str) -> str:
    return format_html('<span class="{}">{}</span>', kind, text) if kind else text
