"""The virtual environment that the tests make for themselves.

Works where only python3 and pip are: no ensurepip, no activated environment. Only the
standard library, as nothing else is there yet.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "django-q-tests.stamp"
NEWEST_FOR_311 = (5, 2)
"""Django 6 needs Python 3.12."""


class SetUpFailed(Exception):
    """What is missing, and what to do about it, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an environment should have."""

    python: str | None = None
    """A version such as "3.13", or a path; None: the running one."""

    django: str | None = None
    """A version such as "6.1"; None: the newest that fits."""

    extras: tuple[str, ...] = ("test",)
    wheels: str | None = None
    """A folder to install from, instead of from the package index."""

    @property
    def folder(self) -> Path:
        """`.venv`, and a folder of its own for each other combination."""
        name = ".venv"
        if self.python:
            name += "-" + re.sub(r"[^\w.]+", "", self.python.rpartition("/")[2])
        if self.django:
            name += f"-django{self.django}"
        return ROOT / name

    def requirements(self) -> list[str]:
        pins = [f"Django~={self.django}.0"] if self.django else []
        return ["--editable", f"{ROOT}[{','.join(self.extras)}]", *pins]

    def digest(self, python: Path) -> str:
        """Changes whenever what is installed has to change."""
        sources = [ROOT / "setup.py", ROOT / "django_q" / "__init__.py"]
        said = [version_of(python), self.django or "", str(ROOT)]
        said += [source.read_text(encoding="utf-8") for source in sources]
        return hashlib.sha256("\0".join(said).encode()).hexdigest()


def prepare(wanted: Wanted) -> Path:
    """The Python of an environment that has what is wanted; quick the second time."""
    python = python_in(wanted.folder)
    if not runs(python):
        make(wanted)
    check_versions(python, wanted)
    stamp, digest = wanted.folder / STAMP, wanted.digest(python)
    installed = installed_extras(stamp, digest)
    if not installed.issuperset(wanted.extras):
        wanted = replace(wanted, extras=tuple(sorted(installed.union(wanted.extras))))
        print(f"installing into {wanted.folder.name} …", flush=True)
        install(python, wanted.requirements(), wheels=wanted.wheels)
        stamp.write_text("\n".join([digest, *wanted.extras]))
    return python


def installed_extras(stamp: Path, digest: str) -> set[str]:
    """What was installed already; nothing, when it was something older."""
    said, *extras = stamp.read_text().split() if stamp.exists() else [""]
    return set(extras) if said == digest else set()


def make(wanted: Wanted) -> None:
    base = find_python(wanted.python) if wanted.python else own_base()
    # --clear, because only an environment that does not run gets here.
    command = [str(base), "-m", "venv", "--without-pip", "--clear", str(wanted.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetUpFailed(f"{base} cannot make {wanted.folder}: {done.stderr.strip()}")


def check_versions(python: Path, wanted: Wanted) -> None:
    version = tuple(int(part) for part in version_of(python).split(".")[:2])
    if version < (3, 11):
        said = ".".join(map(str, version))
        raise SetUpFailed(f"django-q needs Python 3.11 or newer; {python} is {said}.")
    django = tuple(int(part) for part in (wanted.django or "0").split(".")[:2])
    if version < (3, 12) and django > NEWEST_FOR_311:
        raise SetUpFailed(f"Django {wanted.django} needs Python 3.12 or newer.")


def install(
    python: Path, requirements: Sequence[str], *, wheels: str | None = None
) -> None:
    """Install with any pip that this machine has; the words go to a file."""
    source = (
        ["--no-index", "--find-links", str(Path(wheels).resolve())] if wheels else []
    )
    log = python.parent.parent / "install.log"
    command = [
        *(*find_pip(python), "--python", str(python)),
        *("install", "--disable-pip-version-check", "--no-input"),
        *(*source, *requirements),
    ]
    # The pip of a distribution refuses to touch its own packages; this is not them.
    environment = {**os.environ, "PIP_REQUIRE_VIRTUALENV": "0"}
    with log.open("w") as words:
        done = subprocess.run(
            command, stdout=words, stderr=words, env=environment, check=False, cwd=ROOT
        )
    if done.returncode:
        raise SetUpFailed(why(log))


def why(log: Path) -> str:
    text = log.read_text(errors="replace")
    if re.search(r"NewConnectionError|ConnectTimeout|Temporary failure in name", text):
        return (
            "No connection to the package index, and not everything is installed yet. "
            f"Connect, or give --wheels DIR. (All of it: {log})"
        )
    last = [line for line in text.splitlines() if line.startswith("ERROR")][-3:]
    return "\n".join(["pip could not install what is needed:", *last, str(log)])


def find_pip(python: Path) -> list[str]:
    for candidate in (Path(sys.executable), own_base(), python):
        command = [str(candidate), "-m", "pip"]
        if succeeds([*command, "--version"]):
            return command
    raise SetUpFailed("There is no pip: sudo apt install python3-pip, then try again.")


# -------------------------------------------------------------------- interpreters


def find_python(wanted: str) -> Path:
    """A Python by its version, in the path or where pyenv keeps its own; or by path."""
    if not re.fullmatch(r"3\.\d+(\.\d+)?", wanted):
        return Path(shutil.which(wanted) or wanted)
    for candidate in candidates(wanted):
        # A shim of pyenv is there even when its version is not selected.
        if runs(candidate) and (version_of(candidate) + ".").startswith(wanted + "."):
            return candidate
    raise SetUpFailed(f"There is no Python {wanted} in the path or in pyenv.")


def candidates(wanted: str) -> Iterable[Path]:
    yield own_base()
    found = shutil.which("python" + ".".join(wanted.split(".")[:2]))
    if found:
        yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{wanted}*/bin/python3"), reverse=True)


def own_base() -> Path:
    """The Python that runs this, not the environment it may be in."""
    if os.name == "nt":
        return Path(sys.base_prefix) / "python.exe"
    major, minor = sys.version_info[:2]
    base = Path(sys.base_prefix) / "bin" / f"python{major}.{minor}"
    return base if base.exists() else Path(sys.executable)


def python_in(folder: Path) -> Path:
    if os.name == "nt":
        return folder / "Scripts" / "python.exe"
    return folder / "bin" / "python"


def version_of(python: Path) -> str:
    code = "import platform; print(platform.python_version())"
    return ask(python, code)


def ask(python: Path, code: str) -> str:
    """What this code prints there."""
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def runs(python: Path) -> bool:
    return python.exists() and succeeds([str(python), "-c", ""])


def succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
