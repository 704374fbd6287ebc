"""Let a year pass: `python -m tests.faults.year --seed 1 --place sqlite,postgres,redis`.

Prints a line for each zone. Each place gets private servers, which end with the run.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import django

from tests.servers import SERVERS, RedisServer

PLACES: Final = {
    "sqlite": "sqlite",
    "postgres": "postgres",
    "mariadb": "mysql",
    "redis": "postgres",
    "redis-sqlite": "sqlite",
}
"""Where queue and schedules are, and the database that has the schedules."""

ZONES: Final = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "UTC",
)

FEWEST_DAYS: Final = 43
"""The last kind of schedule begins 1000 hours after the first."""


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    if len(options.place) > 1:
        # Settings are read once in a process.
        rest = [f"--seed={options.seed}", f"--zone={','.join(options.zone)}"]
        rest += [f"--days={options.days}", *["--dense"] * options.dense]
        command = [sys.executable, "-m", "tests.faults.year", *rest]
        codes = [
            subprocess.run([*command, f"--place={place}"], check=False).returncode
            for place in options.place
        ]
        return max(codes)
    [place] = options.place
    with ExitStack() as stack:
        prepare(place, stack)
        return max(tell(place, zone, options) for zone in options.zone)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.year", description="Let a year pass, and compare."
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", type=words, default=["sqlite", "postgres", "redis"])
    parser.add_argument("--zone", type=words, default=list(ZONES))
    parser.add_argument("--days", type=days, default=368, help=f"from {FEWEST_DAYS} on")
    parser.add_argument(
        "--dense", action="store_true", help="three times as many slots: in every hour"
    )
    return parser.parse_args(arguments)


def days(text: str) -> int:
    if (count := int(text)) < FEWEST_DAYS:
        message = f"{count} are too few: every kind of schedule needs {FEWEST_DAYS}"
        raise argparse.ArgumentTypeError(message)
    return count


def words(text: str) -> list[str]:
    return text.split(",")


def prepare(place: str, stack: ExitStack) -> None:
    """Start the servers, and make the database."""
    database = PLACES[place]
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    os.environ["QTEST_DATABASE"] = database
    if database in SERVERS:
        os.environ |= stack.enter_context(SERVERS[database]()).environment()
    django.setup()
    from django.test import override_settings, utils  # noqa: PLC0415 - has settings now

    logging.getLogger("django-q").setLevel(logging.ERROR)
    config = utils.setup_databases(verbosity=0, interactive=False)
    stack.callback(utils.teardown_databases, config, verbosity=0)
    if place.startswith("redis"):
        server = stack.enter_context(RedisServer())
        cluster = {"name": "year", "redis": server.url}
        stack.enter_context(override_settings(Q_CLUSTER=cluster))


def tell(place: str, zone: str, options: argparse.Namespace) -> int:
    """Let the time pass in one zone, and say what came of it."""
    from tests.faults.year.actors import Odds  # noqa: PLC0415 - the apps are loaded now
    from tests.faults.year.plans import Span  # noqa: PLC0415
    from tests.faults.year.world import Found, simulate  # noqa: PLC0415

    first = datetime(2026, 12, 30, 12, tzinfo=UTC)
    last = first + timedelta(days=options.days)
    span = Span(zone, first, last, options.dense)
    odds = Odds(killed=0.002, unheard=0.005, paused=0.01)
    found: Found = simulate(span, options.seed, odds, timedelta(hours=2))
    counts: Any = dict(sorted(found.counts.items()))
    print(
        f"{place} {zone} seed {options.seed}: {found.slots} slots,"
        f" {len(found.wrong)} wrong, {len(found.left)} left, {counts},"
        f" {found.seconds:.0f} s",
        flush=True,
    )
    for (name, slot), (wanted, ran) in sorted(found.wrong.items())[:20]:
        print(f"  [{name}] {slot}: {ran} instead of {wanted}")
    for line in found.left[:20]:
        print(f"  {line}")
    return 1 if found.wrong or found.left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
