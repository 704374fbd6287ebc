"""The letters that the file e-mail backend has written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from itertools import islice
from pathlib import Path

from django.conf import settings

RULE = b"\n" + b"-" * 79 + b"\n"
"""What the backend writes below each letter."""


@dataclass(frozen=True)
class Letter:
    to: str
    subject: str
    date: datetime
    text: str

    def is_about(self, word: str) -> bool:
        return word in self.text or word in self.to


def latest_letters(limit: int, *, about: str = "") -> list[Letter]:
    """The letters written last, newest first; those whose text or address has a word."""
    files = sorted(Path(settings.MAIL_FOLDER).glob("*.log"), reverse=True)
    letters = (letter for file in files for letter in _read(file))
    return list(islice((each for each in letters if each.is_about(about)), limit))


def _read(file: Path) -> Iterator[Letter]:
    """A connection writes all of its letters into one file, the last one last."""
    # What stands below the last rule is a letter that is just being written.
    for content in reversed(file.read_bytes().split(RULE)[:-1]):
        yield _letter(content)


def _letter(content: bytes) -> Letter:
    message = message_from_bytes(content, policy=policy.default)
    return Letter(
        to=str(message["To"]),
        subject=str(message["Subject"]),
        date=message["Date"].datetime,
        text=message.get_content(),
    )
