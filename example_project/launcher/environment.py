"""The environment of the demo: .venv with the packages; run as a command of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from launcher.options import HERE, ROOT
from tests.environment import STAMP as STAMP_OF_TESTS
from tests.environment import (
    SetUpFailed,
    Wanted,
    ask,
    check_versions,
    install,
    installed_extras,
    make,
    python_in,
    runs,
    succeeds,
)

STAMP = "django-q-demo.stamp"
NEEDED = "import arrow, blessed, cronsim, django, picklefield, psutil, PIL, django_q"
VERSIONS = (
    "import platform, django; "
    "print(f'Python {platform.python_version()}, Django {django.get_version()}')"
)
NOTHING_FOUND = re.compile(
    r"from versions: none|NewConnectionError|ConnectTimeout|Temporary failure in name"
)


def python_of_environment() -> Path:
    """The interpreter in .venv, which need not be there yet."""
    return python_in(Wanted().folder)


def is_ready(python: Path) -> bool:
    """Can it import all that the site needs, and our package from this checkout?"""
    here = f"assert django_q.__path__[0].startswith({str(ROOT)!r})"
    return runs(python) and succeeds([str(python), "-I", "-c", f"{NEEDED}; {here}"])


def versions(python: Path) -> str:
    """What it is, for the screen."""
    return ask(python, VERSIONS)


def prepare(wheels: str | None) -> None:
    """Make what is missing; raises SetUpFailed with a sentence."""
    wanted = Wanted(wheels=wheels)
    python = python_of_environment()
    if not runs(python):
        make(wanted)
    check_versions(python, wanted)
    digest = wanted.digest(python)
    if is_ready(python) and _is_up_to_date(wanted.folder, digest):
        return
    try:
        fill(python, wheels)
    except SetUpFailed:
        # Without a network, what an earlier run has installed is good enough.
        if not is_ready(python):
            raise
        return
    (wanted.folder / STAMP).write_text(digest, encoding="utf-8")


def fill(python: Path, wheels: str | None) -> None:
    """Install the packages with any pip that there is."""
    requirements = ["--editable", str(ROOT), "-r", str(HERE / "requirements.txt")]
    if wheels and not Path(wheels).is_dir():
        raise SetUpFailed(f"There is no folder {wheels}. Give --wheels one of wheels.")
    try:
        install(python, requirements, wheels=wheels)
    except SetUpFailed as error:
        words = (python.parent.parent / "install.log").read_text(errors="replace")
        sys.stdout.write(words)
        raise SetUpFailed(reason(words, wheels) or str(error)) from error


def reason(words: str, wheels: str | None) -> str:
    """What pip's words mean and what to do about it; empty where they are unknown."""
    if not NOTHING_FOUND.search(words):
        return ""
    if wheels:
        fetch = f"python3 -m pip wheel -w {wheels} {ROOT} Pillow setuptools"
        return f"{wheels} lacks a wheel. Where there is a network, run: {fetch}"
    return (
        "No connection to the package index, and Django isn't installed yet. "
        "Connect, or give --wheels DIR."
    )


def _is_up_to_date(folder: Path, digest: str) -> bool:
    """Installed as setup.py wants it now, by an earlier demo or by the tests."""
    stamp = folder / STAMP
    own = stamp.exists() and stamp.read_text(encoding="utf-8") == digest
    return own or bool(installed_extras(folder / STAMP_OF_TESTS, digest))


if __name__ == "__main__":
    try:
        prepare(sys.argv[1] if len(sys.argv) > 1 else None)
    except SetUpFailed as error:
        sys.exit(" ".join(str(error).splitlines()))
