"""Run rows of the fault table: `python -m tests.faults --broker redis,orm-pg --rows 1-14`.

Each broker gets private servers of its own, which end with the run. Prints a line for each
row; `--record` also keeps it in docs/faults.json, and writes the table of
docs/reliability.rst. `--at-once 2` runs two brokers side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.faults.places import KINDS, database_for
from tests.faults.report import Run, keep, summary

LAST_ROW = 56


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="django-q-faults-") as folder,
        ThreadPoolExecutor(options.at_once) as crew,
    ):

        def run_here(kind: str) -> Run:
            return run(kind, options.rows, Path(folder))

        runs = list(crew.map(run_here, options.broker))
    print(summary(runs))
    if options.record:
        keep(runs)
    return 0 if all(each.is_well for each in runs) else 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Break something, and count."
    )
    parser.add_argument("--broker", type=kinds, default=list(KINDS), metavar="KINDS")
    parser.add_argument("--rows", type=rows, default=rows(f"1-{LAST_ROW}"))
    parser.add_argument("--at-once", type=int, default=1, metavar="N")
    parser.add_argument("--record", action="store_true")
    return parser.parse_args(arguments)


def kinds(text: str) -> list[str]:
    wanted = text.split(",")
    unknown = set(wanted) - set(KINDS)
    if unknown:
        message = f"{', '.join(unknown)}; known are {', '.join(KINDS)}"
        raise argparse.ArgumentTypeError(message)
    return wanted


def rows(text: str) -> list[int]:
    """The rows that `1-4,9` means."""

    def numbers() -> Iterator[int]:
        for part in text.split(","):
            first, _, last = part.partition("-")
            yield from range(int(first), int(last or first) + 1)

    return sorted(set(numbers()))


def run(kind: str, wanted: list[int], folder: Path) -> Run:
    """Bring the faults upon one broker."""
    record = folder / f"{kind}.jsonl"
    with database_for(kind) as database:
        environment = {
            **os.environ,
            **database,
            "QTEST_FAULTS_BROKER": kind,
            "QTEST_FAULTS_ROWS": json.dumps(wanted),
            "QTEST_FAULTS_RECORD": str(record),
        }
        command = [sys.executable, "-m", "pytest", "-q", "tests/faults"]
        done = subprocess.run(command, env=environment, check=False)
    facts: list[dict[str, Any]] = []
    if record.exists():
        facts = [json.loads(line) for line in record.read_text().splitlines()]
    return Run(kind, wanted, facts, done.returncode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
