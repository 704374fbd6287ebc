"""Tables for the documents, as reStructuredText has them."""

from __future__ import annotations

from collections.abc import Sequence


def simple_table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = " ".join("=" * width for width in widths)
    head, *body = (" ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in (rule, head, rule, *body, rule))
