"""python -m tests.upgrades.record: what the older releases leave, for the fast tests.

Lets each of them fill a site and keeps the rows and packages that it really wrote, in
tests/contract_q/recorded. To be run again only when fill.py has more to show.
"""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from contextlib import closing
from typing import Any

from tests.environment import ROOT, ask
from tests.upgrades.place import Place, Stage
from tests.upgrades.rehearsal import Rehearsal
from tests.upgrades.releases import RELEASES, Release

RECORDED = ROOT / "tests" / "contract_q" / "recorded"
TOO_LONG = 2000
KEPT = ("jobs.give", "jobs.echo", "jobs.not_there")
VERSIONS = (
    "import django, platform as p; print(p.python_version(), django.get_version())"
)


def record(release: Release) -> dict[str, Any]:
    """Versions, rows by table, and the packages in the queue."""
    broker = release.brokers[0]
    with Stage("sqlite", broker) as stage, stage.place() as place:
        rehearsal = Rehearsal(release, place, "recording")
        place.run(rehearsal.old, "manage.py", "migrate", "--noinput")
        with place.cluster(rehearsal.old):
            place.fill(rehearsal.old, "work")
            rehearsal.wait("its cluster does its own tasks", rehearsal.has_done_its_own)
        place.fill(rehearsal.old, "queue")
        python, django = ask(rehearsal.old, VERSIONS).split()
        return {
            "made by": f"{release.name}, Python {python}, Django {django}",
            "rows": rows(place),
            "packages": packages(rehearsal),
        }


def packages(rehearsal: Rehearsal) -> list[str]:
    return [str(package) for package in rehearsal.place.fill(rehearsal.old, "packages")]


def rows(place: Place) -> dict[str, list[dict[str, Any]]]:
    with closing(sqlite3.connect(place.database["NAME"])) as line:
        line.row_factory = sqlite3.Row
        found = {
            table: [dict(r) for r in line.execute(f"SELECT * FROM django_q_{table}")]  # noqa: S608
            for table in ("task", "schedule")
        }
    return found | {"task": [row for row in found["task"] if is_worth_it(row)]}


def is_worth_it(row: dict[str, Any]) -> bool:
    """Nothing long, and no traceback, which would tell of the machine."""
    stored = row["result"] or ""
    return (
        row["func"] in KEPT
        and len(stored) < TOO_LONG
        and b"Traceback" not in b64decode(stored)
    )


def written(recorded: dict[str, Any]) -> str:
    """One row a line."""
    lines = [f'  "made by": {json.dumps(recorded["made by"])}']
    for table, found in recorded["rows"].items():
        lines.append(listed(table, found))
    lines.append(listed("packages", recorded["packages"]))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def listed(name: str, found: list[Any]) -> str:
    lines = ",\n".join(f"    {json.dumps(one)}" for one in found)
    return f'  "{name}": [\n{lines}\n  ]'


def main() -> None:
    RECORDED.mkdir(parents=True, exist_ok=True)
    for release in RELEASES.values():
        file = RECORDED / f"{release.name.replace(' ', '-')}.json"
        file.write_text(written(record(release)), encoding="utf-8")


if __name__ == "__main__":
    main()
