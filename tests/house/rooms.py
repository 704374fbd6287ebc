"""The files of the project, for the tests that look at all of them."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "django_q"
BENCHMARKS = ROOT / "benchmarks"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Our modules; migrations are written by a machine."""
    files = PACKAGE.rglob("*.py")
    return sorted(file for file in files if "migrations" not in file.parts)


def benchmarks() -> list[Path]:
    """Modules that are not installed, and that people read all the same."""
    return sorted(BENCHMARKS.rglob("*.py"))


def modules() -> list[str]:
    """The dotted names of the sources."""
    return [dotted(file) for file in sources()]


def dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(file: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def classes(file: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            yield node


def size(function: Function) -> int:
    """Lines of the body, without its docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def texts() -> list[Path]:
    """Every text that belongs to the project, also where there is no git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        files = [ROOT / name for name in listed.stdout.splitlines()]
    else:
        files = list(not_ignored())
    return sorted(file for file in files if file.is_file() and is_text(file))


def not_ignored() -> Iterator[Path]:
    """Every file that no line of `.gitignore` names, nor a folder that it is in."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    patterns = [".git", *(line.rstrip("/") for line in lines if line)]
    for folder, folders, files in os.walk(ROOT):
        here = Path(folder).relative_to(ROOT)
        # Environments are in there, with thousands of files each.
        folders[:] = [name for name in folders if not is_named(here / name, patterns)]
        for name in files:
            if not is_named(here / name, patterns):
                yield ROOT / here / name


def is_named(path: Path, patterns: Iterable[str]) -> bool:
    """Whether one of the lines of a `.gitignore` means just this."""
    return any(
        fnmatch(str(path), pattern.lstrip("/"))
        if "/" in pattern
        else fnmatch(path.name, pattern)
        for pattern in patterns
    )


def is_text(file: Path) -> bool:
    return b"\0" not in file.read_bytes()[:8192]
