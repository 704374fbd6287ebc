"""Every option is in the docs, and nothing else is."""

from __future__ import annotations

import re
from dataclasses import fields

from django_q.options import Options
from tests.house import rooms

# Settings that are read from Q_CLUSTER but do not become an option of one cluster.
BESIDE_OPTIONS = {"ALT_CLUSTERS"}

# A setting is documented where it is a title of its own: ``timeout`` over a line.
TITLE = re.compile(r"^(?:``)?([A-Za-z_]+)(?:``)?\n([=\-~^\"'`*+])\2+$", re.MULTILINE)
DIRECTIVE = re.compile(r"^\.\. (?:confval|setting|option|data):: (\w+)$", re.MULTILINE)


def test_every_option_is_documented_and_nothing_else() -> None:
    text = (rooms.ROOT / "docs" / "configure.rst").read_text(encoding="utf-8")
    known = {option.name for option in fields(Options)} | BESIDE_OPTIONS
    documented = set(DIRECTIVE.findall(text))
    # Other sections are sentences or begin with a capital letter.
    documented |= {
        name
        for name, _line in TITLE.findall(text)
        if name.islower() or name in BESIDE_OPTIONS
    }
    assert known - documented == set(), "not documented"
    assert documented - known == set(), "documented, but no option"


def test_every_option_says_what_it_means() -> None:
    source = (rooms.PACKAGE / "options.py").read_text(encoding="utf-8")
    silent = [
        option.name
        for option in fields(Options)
        if not re.search(rf'^    {option.name}: .*\n    """', source, re.MULTILINE)
    ]
    assert silent == []
