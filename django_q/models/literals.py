"""The arguments of a schedule: text that holds Python literals, and nothing else.

Nothing is ever evaluated. Text of any kind, however long or deep, ends in a value or
in a ValueError that says what is wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from django.utils.translation import gettext as _

LENGTH_LIMIT: Final = 100_000
"""Characters that are read at all."""

LENGTH_ADVISED: Final = 10_000
"""Characters that a schedule may have when it is written; older ones may have more."""

DEPTH_LIMIT: Final = 50

UNREADABLE: Final = (
    SyntaxError,
    ValueError,
    TypeError,
    RecursionError,
    MemoryError,
)
"""What Python raises for text that it can't read, or that is there to exhaust it."""


def parse_args(text: str | None) -> tuple[Any, ...]:
    """Positional arguments: "5" is (5,), "1, 'a'" is (1, 'a'), "[1]" is ([1],).

    Raises ValueError.
    """
    stripped = _bounded(text)
    if not stripped:
        return ()
    try:
        value = _literal(_tree(f"({stripped}\n)").body)
    except UNREADABLE as error:
        raise _refusal(_("like 1, 'two', [3]"), error) from None
    return value if isinstance(value, tuple) else (value,)


def parse_kwargs(text: str | None) -> dict[str, Any]:
    """Keyword arguments: "{'x': 1}" or "x=1, y='a'".

    Raises ValueError.
    """
    stripped = _bounded(text)
    if not stripped:
        return {}
    try:
        return _keywords(stripped)
    except UNREADABLE as error:
        raise _refusal(_("like size=3, name='x'"), error) from None


def _bounded(text: str | None) -> str:
    stripped = (text or "").strip()
    if len(stripped) > LENGTH_LIMIT:
        message = _("arguments do not parse: more than %(limit)d characters")
        raise ValueError(message % {"limit": LENGTH_LIMIT})
    return stripped


def _keywords(text: str) -> dict[str, Any]:
    if text.startswith(("{", "(")):
        return _dictionary(_literal(_tree(f"({text}\n)").body))
    call = _tree(f"_({text}\n)").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        message = _("that is no list of keywords")
        raise SyntaxError(message)  # noqa: TRY004 - it is about text, not about types
    if call.args:
        raise SyntaxError(_("an argument has no name"))
    pairs = [(pair.arg, _literal(pair.value)) for pair in call.keywords]
    keywords = _dictionary(dict(pairs))
    if len(keywords) < len(pairs):
        raise ValueError(_("a name comes twice"))
    return keywords


def _dictionary(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise ValueError(_("the names of keywords must be text"))
    return dict(value)


def _tree(text: str) -> ast.Expression:
    """The syntax of an expression, unless it is too deep to be handled safely.

    Callers put text in parentheses, so that it may go over several lines; the line
    break before the second one ends a comment, which would swallow it.
    """
    tree = ast.parse(text, mode="eval")
    level: list[ast.AST] = [tree]
    for _depth in range(DEPTH_LIMIT):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise ValueError(_("too many brackets inside one another"))


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        # Python's own text names a node of the syntax tree, which helps nobody.
        raise ValueError(
            _("only plain values are allowed, no names or calls")
        ) from None


def _refusal(example: str, error: BaseException) -> ValueError:
    reason = error.msg if isinstance(error, SyntaxError) else str(error).rstrip(".")
    message = _("arguments do not parse: %(reason)s. Write them %(example)s")
    words = {"reason": reason or type(error).__name__, "example": example}
    return ValueError(message % words)
