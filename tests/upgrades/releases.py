"""The older releases, and the environment that each of them still runs in."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.environment import ROOT, SetUpFailed, find_python, python_in, succeeds


@dataclass(frozen=True, kw_only=True)
class Release:
    """What to install, and what it can work with."""

    name: str
    python: str
    pins: tuple[str, ...]
    brokers: tuple[str, ...] = ("orm", "redis")
    databases: tuple[str, ...] = ("sqlite", "postgres", "mysql")
    acts: tuple[str, ...] = ("upgrade",)
    """Those of Rehearsal; only one that shares our queue plays them all."""

    keeps_queue: bool = True
    """Whether its packages can be read; those signed with SHA-1 cannot."""

    @property
    def folder(self) -> Path:
        return ROOT / f".venv-upgrade-{self.name.replace(' ', '-')}"

    def prepare(self) -> Path:
        """Its Python; made once, and again when the pins change."""
        python = python_in(self.folder)
        digest = hashlib.sha256("\n".join(self.pins).encode()).hexdigest()
        stamp = self.folder / "stamp"
        if stamp.exists() and stamp.read_text() == digest:
            return python
        shutil.rmtree(self.folder, ignore_errors=True)
        base = find_python(self.python)
        if not succeeds([str(base), "-m", "venv", str(self.folder)]):
            raise SetUpFailed(f"{base} cannot make {self.folder}.")
        # The pip that comes with an old Python may not understand today's index.
        first = next((pin for pin in self.pins if pin.startswith("pip==")), "pip")
        for pins in ([first], self.pins):
            install = [str(python), "-m", "pip", "install", "-q", *pins]
            done = subprocess.run(install, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SetUpFailed(f"{self.name}: {done.stderr[-2000:]}")
        stamp.write_text(digest)
        return python


RELEASES = {
    "0.6.4": Release(
        name="django-q 0.6.4",
        python="3.6",
        pins=(
            "pip==21.3.1",
            "django-q==0.6.4",
            "Django==1.8.19",
            "arrow==0.17.0",
            "django-picklefield==1.1.0",
            "psycopg2-binary==2.8.6",
            "redis==3.5.3",
        ),
        brokers=("redis",),
        databases=("sqlite", "postgres"),
        keeps_queue=False,
    ),
    "1.3.9": Release(
        name="django-q 1.3.9",
        python="3.9",
        pins=(
            "django-q==1.3.9",
            "Django==3.2.25",
            "croniter==1.4.1",
            "psycopg2-binary==2.9.10",
            "mysqlclient==2.2.4",
            "redis==3.5.3",
            "setuptools<81",
        ),
    ),
    "django-q2": Release(
        name="django-q2 1.11",
        # What the newest Python pickles, such as a path, not each of ours can read.
        python="3.11",
        pins=(
            "django-q2==1.11.1",
            "Django~=5.2.0",
            "croniter",
            "psycopg[binary]",
            "mysqlclient>=2.2.1",
            "redis",
        ),
        acts=("upgrade", "back", "fleet"),
    ),
}
