"""Transfers by the thousand: `python -m tests.faults.transfers --count 20000`.

Runs the test of atomic tasks with so many of them, on each database, on private servers.
Prints what was done to the clusters, and what came of it.
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
from typing import Final

from tests.faults.places import database_for

KINDS: Final = ("orm-pg", "orm-mariadb", "orm-sqlite")
TEST: Final = "tests/faults/test_atomic.py"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.transfers", description="Transfer, kill, count."
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--broker", default=",".join(KINDS), metavar="KINDS")
    options = parser.parse_args(arguments)
    kinds = options.broker.split(",")
    if set(kinds) - set(KINDS):
        parser.error(f"known are {', '.join(KINDS)}")
    return max([run(kind, options.count) for kind in kinds])


def run(kind: str, count: int) -> int:
    """On one database. Gives 0 if each transfer happened once."""
    with tempfile.TemporaryDirectory() as folder, database_for(kind) as database:
        facts = Path(folder) / "facts"
        environment = {
            **os.environ,
            **database,
            "QTEST_FAULTS_BROKER": kind,
            "QTEST_TRANSFERS": str(count),
            "QTEST_TRANSFERS_RECORD": str(facts),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-k", "transfer", TEST]
        done = subprocess.run(
            [*command, "-o", "faulthandler_timeout=0"], env=environment, check=False
        )
        if facts.exists():
            for name, value in json.loads(facts.read_text()).items():
                print(f"{name:>15}: {value}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
