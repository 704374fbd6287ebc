"""python -m tests.upgrades --from 1.3.9,django-q2 --databases sqlite,postgres

Installs the older releases beside this checkout, lets each of them fill a site, moves
the site to this release, and back; then both serve one queue together. Prints one line
for each fact. It ends with 0 when all of them hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.environment import SetUpFailed
from tests.servers import ServerFailed
from tests.upgrades.place import ENGINES, RehearsalFailed, Stage
from tests.upgrades.rehearsal import Rehearsal
from tests.upgrades.releases import RELEASES, Release


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    wrong = 0
    try:
        for release in (RELEASES[name] for name in options.releases):
            for database in options.databases:
                for broker in options.brokers:
                    wrong += rehearse(release, database, broker, options.acts)
    except (SetUpFailed, ServerFailed) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{wrong} facts do not hold." if wrong else "All facts hold.")
    return 1 if wrong else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.upgrades",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option, name, known in (
        ("--from", "releases", [*RELEASES]),
        ("--databases", "databases", [*ENGINES]),
        ("--brokers", "brokers", ["orm", "redis"]),
        ("--acts", "acts", ["upgrade", "back", "fleet"]),
    ):
        words = f"some of {','.join(known)}; default: all"
        parser.add_argument(option, dest=name, default=",".join(known), help=words)
    options = parser.parse_args(arguments)
    for name in ("releases", "databases", "brokers", "acts"):
        setattr(options, name, getattr(options, name).split(","))
    return options


def rehearse(release: Release, database: str, broker: str, acts: Sequence[str]) -> int:
    """All that this release can do there; gives how many facts do not hold."""
    if broker not in release.brokers or database not in release.databases:
        return 0
    wrong = 0
    with Stage(database, broker) as stage:
        for act in (act for act in acts if act in release.acts):
            with stage.place() as place:
                rehearsal = Rehearsal(release, place, f"{database} {broker} {act}")
                try:
                    getattr(rehearsal, act)()
                except RehearsalFailed as error:
                    rehearsal.say("its programs run", holds=False, detail=str(error))
                wrong += rehearsal.wrong
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
