"""Records: one line of JSON for each run, with all that is needed to read it later."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.configs import Command, Config
from benchmarks.environments import Environments
from benchmarks.ground import DurablePostgreSQL, Ground, PlainRedis
from benchmarks.machine import description

Record = dict[str, Any]


class Book:
    """Writes the lines, as soon as a run is over."""

    def __init__(self, path: Path, ground: Ground, places: Environments) -> None:
        self.path = path
        self.places = places
        self.machine = description(ground.folder)
        self.versions: dict[str, dict[str, str]] = {}

    def write(self, config: Config, facts: Record) -> Record:
        place = config.environment
        if place not in self.versions:
            self.versions[place] = self.places.versions(place) | servers_of(config)
        line = {
            **facts,
            "config": config.name,
            "at": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
            "settings": settings_of(config),
            "versions": self.versions[place],
            "machine": self.machine,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return line


def servers_of(config: Config) -> dict[str, str]:
    """The versions of what it could be measured with."""
    found = {
        "PostgreSQL": DurablePostgreSQL.version(),
        "Redis": PlainRedis.version(),
        "SQLite": sqlite3.sqlite_version,
    }
    return {name: version for name, version in found.items() if version}


def settings_of(config: Config) -> dict[str, Any]:
    """What this configuration says itself; the rest is in `benchmarks/site`."""
    return {
        "environment": config.environment,
        "commands": [program(command) for command in config.commands],
        "options": dict(config.options),
        "note": config.note,
    }


def program(command: Command) -> str:
    """As somebody would type it."""
    return " ".join(command).format(python="python", bin="").removeprefix("/")


def read(paths: Iterable[Path]) -> list[Record]:
    """The lines of all these files."""
    return [
        json.loads(line)
        for path in paths
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]


def of_kind(records: Sequence[Record], kind: str) -> list[Record]:
    return [record for record in records if record["kind"] == kind]
