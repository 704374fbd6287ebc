"""The files of the project, for the tests that look at all of them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "django_q"

MADE_HERE = {"__pycache__", "_build", "build", "dist", "htmlcov"}
HIDDEN_BUT_OURS = {".ci", ".github"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Our modules; migrations are written by a machine."""
    files = PACKAGE.rglob("*.py")
    return sorted(file for file in files if "migrations" not in file.parts)


def modules() -> list[str]:
    """Their dotted names."""
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
        files = [file for file in ROOT.rglob("*") if belongs(file)]
    return sorted(file for file in files if file.is_file() and is_text(file))


def belongs(file: Path) -> bool:
    """Not made by a tool, so far as the names of its folders tell."""
    folders = set(file.relative_to(ROOT).parent.parts)
    hidden = {folder for folder in folders if folder.startswith(".")}
    packed = any(folder.endswith(".egg-info") for folder in folders)
    return hidden <= HIDDEN_BUT_OURS and MADE_HERE.isdisjoint(folders) and not packed


def is_text(file: Path) -> bool:
    return b"\0" not in file.read_bytes()[:8192]
