"""One site on its database and its broker: runs programs of any release on it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.environment import ROOT
from tests.servers import ADDRESS, SERVERS, RedisServer

SITE = Path(__file__).parent / "site"
OURS = Path(sys.executable)

ENGINES = {"sqlite": "sqlite3", "postgres": "postgresql", "mysql": "mysql"}


class RehearsalFailed(Exception):
    """A program of the rehearsal ended with an error; the message has its words."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a rehearsal happens; each of its programs is told by environment."""

    folder: Path
    database: dict[str, Any]
    broker: dict[str, Any]

    @property
    def log(self) -> Path:
        """What the tasks write."""
        return self.folder / "tasks.log"

    def said(self) -> list[list[str]]:
        """The words that tasks wrote, each with the release that ran it."""
        return [line.split() for line in self.log.read_text().splitlines()]

    def environment(self, python: Path) -> dict[str, str]:
        cluster = {
            "name": "shop",
            "workers": 2,
            "timeout": 60,
            "retry": 90,
            "poll": 0.1,
        }
        cluster |= {"save_limit": 100_000, "catch_up": False} | self.broker
        site = {
            "database": self.database,
            "cache": str(self.folder / "cache"),
            "log": str(self.log),
            "mended": str(self.folder / "mended"),
            "cluster": cluster,
        }
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        # An older release must not find ours beside the site.
        folders = [SITE, ROOT] if python == OURS else [SITE]
        return kept | {
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
            "PYTHONUNBUFFERED": "1",
            "QTEST_SITE": json.dumps(site),
        }

    def run(self, python: Path, *command: str, said: object = None) -> str:
        """What a program prints; `said` is handed to it as JSON."""
        done = subprocess.run(
            [python, *command],
            input=json.dumps(said),
            cwd=SITE,
            env=self.environment(python),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            words = f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            raise RehearsalFailed(words)
        return done.stdout

    def fill(self, python: Path, *command: str) -> Any:
        """Run fill.py with this release; gives what it knows."""
        return json.loads(self.run(python, "-W", "ignore", "fill.py", *command))

    @contextmanager
    def cluster(self, python: Path) -> Iterator[None]:
        """A qcluster of the release that this Python has."""
        with (self.folder / "cluster.log").open("ab") as log:
            process = subprocess.Popen(
                [python, "-W", "ignore", "manage.py", "qcluster"],
                cwd=SITE,
                env=self.environment(python),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Stage:
    """The servers of one database and one broker; gives a fresh place for each act."""

    def __init__(self, database: str, broker: str) -> None:
        self.database = database
        self.broker = broker
        self.acts = 0

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.server = None
            if self.database != "sqlite":
                self.server = stack.enter_context(SERVERS[self.database]())
            self.redis = None
            if self.broker == "redis":
                self.redis = stack.enter_context(RedisServer())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A folder, a database and a queue that nobody has used."""
        self.acts += 1
        with tempfile.TemporaryDirectory(prefix="django-q-") as folder:
            yield Place(
                folder=Path(folder),
                database=self._database(Path(folder)),
                broker=self._broker(),
            )

    def _broker(self) -> dict[str, Any]:
        if self.redis is None:
            return {"orm": "default"}
        return {"redis": {"host": ADDRESS, "port": self.redis.port, "db": self.acts}}

    def _database(self, folder: Path) -> dict[str, Any]:
        engine = f"django.db.backends.{ENGINES[self.database]}"
        if self.server is None:
            name = str(folder / "site.sqlite3")
            return {"ENGINE": engine, "NAME": name, "OPTIONS": {"timeout": 30}}
        said = self.server.environment()
        parts = {key: said[f"QTEST_DATABASE_{key}"] for key in ("HOST", "PORT", "USER")}
        name = f"site{self.acts}"
        self._create(name, int(parts["PORT"]), parts["USER"])
        return {"ENGINE": engine, "NAME": name, "PASSWORD": "", **parts}

    def _create(self, name: str, port: int, user: str) -> None:
        """The drivers are looked for when they are needed: SQLite has none."""
        if self.database == "postgres":
            driver = import_module("psycopg")
            where = {"host": ADDRESS, "port": port, "user": user, "dbname": "postgres"}
            with driver.connect(autocommit=True, **where) as line:
                line.execute(f"CREATE DATABASE {name}")
        else:
            driver = import_module("MySQLdb")
            with closing(driver.connect(host=ADDRESS, port=port, user=user)) as line:
                line.query(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
