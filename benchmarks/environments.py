"""Environments: one for each peer, made once and kept in a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.catalogue import ENVIRONMENTS
from benchmarks.configs import OURS
from tests.environment import ROOT, find_pip, own_base, runs, succeeds

STAMP: Final = "installed.json"
SOURCES: Final = ("django_q", "setup.py", "pyproject.toml", "README.rst", "LICENSE")
"""What our own distribution is built of."""

TOLD: Final = ("django", "redis", "hiredis", "psycopg", "psycopg2-binary", "uvloop")
"""Dependencies whose versions matter, beside what was asked for."""

VERSIONS: Final = """
import importlib.metadata as m, json, re, sys
wanted = {re.sub("[-_.]+", "-", name).lower() for name in sys.argv[1:]}
found = {re.sub("[-_.]+", "-", d.name).lower(): d.version for d in m.distributions()}
print(json.dumps({name: found[name] for name in sorted(wanted & set(found))}))
"""


class InstallFailed(Exception):
    """An environment could not be made; the message ends with what pip said."""


def default_folder() -> Path:
    kept = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(kept) / "django-q3-benchmarks"


class Environments:
    """The environments in a folder. They are made by uv where it is, else by venv and pip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uv = shutil.which("uv")
        if self.uv is not None and not succeeds([self.uv, "--version"]):
            self.uv = None

    def home(self, name: str) -> Path:
        return self.folder / "venvs" / name

    def python(self, name: str) -> Path:
        return self.home(name) / "bin" / "python"

    def prepare(self, names: Iterable[str]) -> None:
        """Make what is missing. Ours is installed anew each time, as its source is now."""
        for name in names:
            if name == OURS:
                self._install_ours()
            else:
                self._install(name, ENVIRONMENTS[name])

    def versions(self, name: str) -> dict[str, str]:
        """What was measured."""
        wanted = [requirement.partition("[")[0] for requirement in ENVIRONMENTS[name]]
        asked = [word.partition(">")[0] for word in (*wanted, *TOLD, "django-q3")]
        command = [str(self.python(name)), "-c", VERSIONS, *asked]
        found: dict[str, str] = json.loads(run(command))
        if name == OURS and (commit := commit_of(ROOT)):
            found["django-q3"] += f" ({commit})"
        return found

    # -------------------------------------------------------------------- installing

    def _install(self, name: str, requirements: Sequence[str]) -> None:
        stamp = self.home(name) / STAMP
        said = json.dumps([sys.version, *requirements])
        if stamp.exists() and stamp.read_text(encoding="utf-8") == said:
            return
        self._make(name)
        self._pip(name, *requirements)
        stamp.write_text(said, encoding="utf-8")

    def _install_ours(self) -> None:
        # From a copy, because a build leaves files beside its sources.
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as copy:
            for source in SOURCES:
                put(ROOT / source, Path(copy) / source)
            itself = f"django-q3[redis,postgres] @ {Path(copy).as_uri()}"
            self._make(OURS)
            self._pip(OURS, itself, *ENVIRONMENTS[OURS])
            anew = "--reinstall" if self.uv else "--force-reinstall"
            self._pip(OURS, anew, "--no-deps", copy)

    def _make(self, name: str) -> None:
        if runs(self.python(name)):
            return
        base, home = str(own_base()), str(self.home(name))
        made = [base, "-m", "venv", "--without-pip", "--clear", home]
        run([self.uv, "venv", "-q", "--python", base, home] if self.uv else made)

    def _pip(self, name: str, *words: str) -> None:
        python = self.python(name)
        if self.uv:
            # As pip does: nobody should be measured while it compiles itself.
            install = [self.uv, "pip", "install", "-q", "--compile-bytecode"]
            run([*install, "--python", str(python), *words])
        else:
            pip = [*find_pip(python), "--python", str(python), "install", "-q"]
            run([*pip, "--disable-pip-version-check", *words])


def put(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def commit_of(folder: Path) -> str:
    """Which source it is, where git knows; "+" stands for what is not committed."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = f"{' '.join(command[:4])} …\n{done.stdout[-500:]}{done.stderr[-2000:]}"
        raise InstallFailed(words)
    return done.stdout
