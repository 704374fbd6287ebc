"""What must not stand anywhere in the project."""

from __future__ import annotations

import re

import pytest

from tests.house import rooms

# Put together here, so that this file does not contain what it looks for.
UNFINISHED = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "HA" + "CK"]) + r")\b"
)
MACHINE = re.compile(r"(?<![\w.}])/(root|work|home/\w+|Users/\w+|tmp/w)/")
HOSTS = ["py" + "pi.org", "pythonhosted" + ".org", "npm" + "js.org", "debian" + ".org"]
REGISTRY = re.compile("|".join(re.escape(host) for host in HOSTS))
CONFLICT = re.compile(r"^(<{7} |>{7} |={7}$)", re.MULTILINE)


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        pytest.param("unfinished work", UNFINISHED, id="unfinished"),
        pytest.param("a path of one machine", MACHINE, id="machine"),
        pytest.param("a host of a package registry", REGISTRY, id="registry"),
        pytest.param("a merge that was not finished", CONFLICT, id="conflict"),
    ],
)
def test_no_file_contains(what: str, pattern: re.Pattern[str]) -> None:
    found = []
    for file in rooms.texts():
        text = file.read_text(encoding="utf-8")
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{file.relative_to(rooms.ROOT)}:{line}: {match[0]}")
    assert found == [], what


def test_every_file_ends_with_one_line_feed() -> None:
    ragged = []
    for file in rooms.texts():
        text = file.read_text(encoding="utf-8")
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            ragged.append(str(file.relative_to(rooms.ROOT)))
    assert ragged == []


def test_without_git_as_many_files_belong_to_the_project() -> None:
    """An archive of a release is tested too."""
    found = set(rooms.not_ignored())
    assert [file for file in rooms.texts() if file not in found] == []
    assert not any(".git" in file.parts for file in found)
