"""Mutants: `python -m tests.faults.mutants [NAME …]` proves each safety step necessary.

Each takes one such step out of a copy of the project. What it names, a row of the fault
table or a faster test, must pass without it and fail with it. `--record FILE` writes the
table of docs/reliability.rst. Mutants of the protocol between pusher, worker and monitor
are with its model, in tests/unit/cluster/test_ledger_model.py.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, time  # noqa: TID251 - files are dated by it
from typing import Final, NamedTuple

from tests.faults.mutations import MUTANTS, Mutant, Row, Sight
from tests.rst import simple_table
from tests.servers import SERVERS

HOUSE: Final = Path(__file__).resolve().parents[2]
COPIED: Final = ("django_q", "tests", "docs", "example_project", "pyproject.toml")
FAILED: Final = 1
"""What pytest and the fault table say when a test fails, not when there is none."""

TOO_LONG: Final = 600.0
"""Seconds."""


class Outcome(NamedTuple):
    """What became of a mutant."""

    mutant: Mutant
    flaw: str
    """Empty if it was caught."""

    seconds: float


class Stale(Exception):
    """A mutant no longer fits the source, or what it names does not pass without it."""


class Laboratory:
    """A copy of the project, in which one thing after the other is wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._healthy: set[Sight] = set()
        self._moment = time()
        for name in COPIED:
            source = HOUSE / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "_build")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)

    def try_out(self, mutant: Mutant) -> Outcome:
        begun = monotonic()
        flaw = self._flaw_of(mutant)
        return Outcome(mutant, flaw, monotonic() - begun)

    def _flaw_of(self, mutant: Mutant) -> str:
        sight = mutant.seen_by
        if sight not in self._healthy:
            code, said = self.look(sight)
            if code != 0:
                return f"it does not pass without the mutant:\n{said[-3000:]}"
            self._healthy.add(sight)
        with self.applied(mutant):
            code, said = self.look(sight)
        if code == FAILED and mutant.sign in " ".join(said.split()):
            return ""
        if code == FAILED:
            return f"it fails for another reason:\n{said[-3000:]}"
        return f"it does not fail (exit code {code}):\n{said[-600:]}"

    @contextmanager
    def applied(self, mutant: Mutant) -> Iterator[None]:
        """The copy is wrong meanwhile."""
        file = self.folder / mutant.file
        text = file.read_text(encoding="utf-8")
        self._write(file, mutate(text, mutant))
        try:
            yield
        finally:
            self._write(file, text)

    def _write(self, file: Path, text: str) -> None:
        """Of one second and one size, two files look the same to the import system."""
        file.write_text(text, encoding="utf-8")
        self._moment += 10
        os.utime(file, (self._moment, self._moment))

    def look(self, sight: Sight) -> tuple[int, str]:
        """Run a row or a test in the copy; gives its exit code and what it said."""
        if isinstance(sight, Row):
            where = ("--broker", sight.broker, "--rows", str(sight.number))
            command = ["-m", "tests.faults", *where]
        else:
            options = ("-q", "-x", "-p", "no:cacheprovider")
            command = ["-m", "pytest", *options, sight.node]
            if sight.database in SERVERS:
                server = ("-m", "tests.servers", sight.database, "--")
                command = [*server, sys.executable, *command]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=TOO_LONG,
            text=True,
            errors="replace",
        )
        return done.returncode, done.stdout


def mutate(text: str, mutant: Mutant) -> str:
    """The wrong text. Raises Stale unless what it replaces is there exactly once."""
    count = text.count(mutant.old)
    if count != 1:
        message = f"{mutant.name}: what it replaces is {count} times in {mutant.file}"
        raise Stale(message)
    changed = text.replace(mutant.old, mutant.new)
    # Text that is no Python would fail everywhere, and prove nothing.
    compile(changed, mutant.file, "exec")
    return changed


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="django-q-mutants-") as folder:
        laboratory = Laboratory(Path(folder))
        for mutant in options.mutants:
            outcome = laboratory.try_out(mutant)
            outcomes.append(outcome)
            print(line_of(outcome), flush=True)
    if options.record:
        options.record.write_text(table(outcomes), encoding="utf-8")
    return int(any(outcome.flaw for outcome in outcomes))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.mutants",
        description="Take out one safety step, and see what fails.",
        epilog="Known: " + ", ".join(mutant.name for mutant in MUTANTS),
    )
    parser.add_argument("mutants", nargs="*", metavar="NAME", type=named)
    parser.add_argument("--record", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    options.mutants = options.mutants or MUTANTS
    return options


def named(name: str) -> Mutant:
    """The mutant of this name."""
    for mutant in MUTANTS:
        if mutant.name == name:
            return mutant
    raise argparse.ArgumentTypeError(f"there is no mutant {name!r}")


def line_of(outcome: Outcome) -> str:
    name, sight = outcome.mutant.name, outcome.mutant.seen_by
    found = f"NOT CAUGHT: {outcome.flaw}" if outcome.flaw else "caught"
    return f"{name:28} {sight!s:70} {outcome.seconds:5.1f} s  {found}"


def table(outcomes: Iterable[Outcome]) -> str:
    """For the documents."""
    rows = [["Step taken out", "What fails then", "Seconds"]]
    for mutant, flaw, seconds in outcomes:
        fails = "**nothing**" if flaw else mutant.seen_by.in_documents()
        rows.append([mutant.means, fails, f"{seconds:.0f}"])
    return simple_table(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
