"""From text to words."""

from __future__ import annotations

import re

WORD = re.compile(r"[a-z][a-z0-9]{1,39}")


def words_of(text: str) -> list[str]:
    """The words of a text in small letters; names_like_this are three words."""
    return WORD.findall(text.lower())
