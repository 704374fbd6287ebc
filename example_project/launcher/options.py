"""The options of demo.py, and the places it works with."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent
MANAGE = HERE / "manage.py"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    port: int
    workers: int
    headless: bool
    clean: bool
    wheels: str | None
    no_venv: bool

    @property
    def files(self) -> Path:
        """Where the site keeps what it writes; the site's settings say the same."""
        return Path(os.environ.get("EXAMPLE_FILES", HERE)).resolve()

    @property
    def log(self) -> Path:
        """Everything that the commands behind the steps say."""
        return self.files / "demo.log"

    @property
    def own_python(self) -> Path | None:
        """The interpreter that --no-venv names: the running one."""
        return Path(sys.executable) if self.no_venv else None


def read(arguments: Sequence[str]) -> Options:
    """Options from a command line; wrong ones end the program with a sentence."""
    parser = argparse.ArgumentParser(
        prog="demo.py",
        description="Sets up the example site in .venv, starts it with a cluster, "
        "gives them work and shows what comes of it.",
    )
    add = parser.add_argument
    add("--port", type=_port, default=8000, help="where the site listens (8000)")
    add("--workers", type=_count, default=4, help="worker processes (4)")
    add("--headless", action="store_true", help="run, check each result, stop; for CI")
    add("--clean", action="store_true", help="first remove what earlier runs have left")
    add("--wheels", metavar="DIR", help="install from this folder, without a network")
    add("--no-venv", action="store_true", help="use this Python and what it has")
    return Options(**vars(parser.parse_args(arguments)))


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to 65535")
    return number


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers")
    return number
