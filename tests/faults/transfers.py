"""Transfers by the thousand: `python -m tests.faults.transfers --count 20000`.

Runs the test of atomic tasks with so many of them, on each database, on private servers.
Prints what was done to the clusters, and what came of it; `--record FILE` writes the table
of docs/reliability.rst.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.faults.places import database_for
from tests.rst import simple_table

KINDS: Final = ("orm-pg", "orm-mariadb", "orm-sqlite")
TEST: Final = "tests/faults/test_atomic.py"

Facts = dict[str, Any]
"""What was counted on one database, see record() there."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.transfers", description="Transfer, kill, count."
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--broker", default=",".join(KINDS), metavar="KINDS")
    parser.add_argument("--record", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    kinds = options.broker.split(",")
    if set(kinds) - set(KINDS):
        parser.error(f"known are {', '.join(KINDS)}")
    runs: list[Facts] = []
    for kind in kinds:
        runs.append(run(kind, options.count))
        for name, value in runs[-1].items():
            print(f"{name:>15}: {value}", flush=True)
        if options.record:
            options.record.write_text(table(options.count, runs), encoding="utf-8")
    return int(any(facts["exit code"] for facts in runs))


def run(kind: str, count: int) -> Facts:
    """On one database: what was counted. Exit code 0: each transfer happened once."""
    with tempfile.TemporaryDirectory() as folder, database_for(kind) as database:
        file = Path(folder) / "facts"
        environment = {
            **os.environ,
            **database,
            "QTEST_FAULTS_BROKER": kind,
            "QTEST_TRANSFERS": str(count),
            "QTEST_TRANSFERS_RECORD": str(file),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-k", "transfer", TEST]
        done = subprocess.run(
            [*command, "-o", "faulthandler_timeout=0"], env=environment, check=False
        )
        facts = json.loads(file.read_text()) if file.exists() else {"broker": kind}
    return {**facts, "exit code": done.returncode}


def table(count: int, runs: Sequence[Facts]) -> str:
    """A row for each thing that was counted, a column for each database."""
    names = [name for name in runs[0] if name not in ("broker", "faults", "exit code")]
    rows = [[f"{count:,} transfers", *(str(facts["broker"]) for facts in runs)]]
    rows += [[name, *(_cell(facts.get(name)) for facts in runs)] for name in names]
    for fault in sorted({fault for facts in runs for fault in facts.get("faults", ())}):
        done = (facts.get("faults", {}).get(fault) for facts in runs)
        rows.append([f"fault: {fault}", *map(_cell, done)])
    return simple_table(rows)


def _cell(value: Any) -> str:
    if value is None:
        return "--"
    return f"{value:,}" if isinstance(value, int) else str(value or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
