"""Reads the repository's own documentation into the library."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from django.conf import settings

from library.models import Document

UNDERLINES = set("=-~#*")


def read_documents() -> int:
    """Save every text that is new or changed; returns how many that were."""
    root = Path(settings.ROOT)
    files = [root / "README.rst", *sorted((root / "docs").rglob("*.rst"))]
    return sum(_read(file, root) for file in files if file.is_file())


def _read(file: Path, root: Path) -> bool:
    path = file.relative_to(root).as_posix()
    text = file.read_text(encoding="utf-8")
    document = Document.objects.filter(path=path).first() or Document(path=path)
    if document.text == text:
        return False
    document.text, document.title = text, _title(text) or path
    document.save()
    return True


def _title(text: str) -> str:
    """The first line that is underlined."""
    lines = text.splitlines()
    for line, below in pairwise(lines):
        if line.strip() and len(below) > 2 and set(below) <= UNDERLINES:
            return line.strip()[:200]
    return ""
