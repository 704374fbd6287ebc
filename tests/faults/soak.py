"""Soak: `python -m tests.faults.soak --broker redis --minutes 60 --rate 200`.

Two clusters share the load, each with a queue of its own. One is harmed all the time: its
processes are killed, frozen and told to end, and a root that has ended is started again, as
systemd would. The other one is left alone, and weighed. In the end everything is counted.

The exit code is 0 if nothing is lost, and, in a run that is long enough to tell, if no
process has grown. `--record FILE` writes what docs/reliability.rst includes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.faults.places import KINDS, NEEDS, database_for


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="django-q-soak-") as folder,
        database_for(options.broker) as database,
    ):
        environment = {
            **os.environ,
            **database,
            "DJANGO_SETTINGS_MODULE": "tests.faults.settings",
            "QTEST_CACHE": f"{folder}/cache",
            "QTEST_CLUSTER": json.dumps({}),
            "QTEST_SIGNALS": f"{folder}/signals",
            "QTEST_SOAK_FOLDER": folder,
        }
        if NEEDS[options.broker] == "sqlite":
            environment["QTEST_DATABASE_NAME"] = f"{folder}/soak.sqlite3"
        # The settings read the environment when they are imported.
        command = [sys.executable, "-m", "tests.faults.besieged", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak", description="Harm for an hour, and count."
    )
    parser.add_argument("--broker", choices=KINDS, default="redis")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=200.0, help="tasks a second")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--record", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
