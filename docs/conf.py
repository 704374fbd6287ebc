"""How Sphinx builds these pages: no network, and every warning is an error."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = (HERE.parent / "django_q" / "__init__.py").read_text(encoding="utf-8")


def read_version() -> str:
    """As `django_q/__init__.py` says it; read as text, nothing is imported."""
    found = re.search(r'^__version__ = "([^"]+)"$', SOURCE, re.MULTILINE)
    if found is None:
        message = "django_q/__init__.py does not say __version__"
        raise ValueError(message)
    return found[1]


project = "django-q3"
author = "The django-q3 contributors"
copyright = author
release = read_version()
version = ".".join(release.split(".")[:2])

extensions: list[str] = []
exclude_patterns = ["_build"]
nitpicky = True
# A literal block is Python only where it says so: tests/unit/test_docs.py runs those.
highlight_language = "none"
smartquotes = False

html_theme = "furo"
html_title = f"django-q3 {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]
