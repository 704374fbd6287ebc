"""Ground: the private servers of one invocation, and a clean database for each run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg.sql import SQL, Identifier

from tests.servers import ADDRESS, USER, PostgreSQL, RedisServer

Migrate = Callable[[dict[str, Any]], None]
"""Makes the tables in the database that it is told."""


class DurablePostgreSQL(PostgreSQL):
    """With its own defaults: what is committed is on the disk."""

    def settings(self) -> dict[str, str]:
        unsafe = {"fsync", "full_page_writes"}
        kept = super().settings().items()
        return {key: value for key, value in kept if key not in unsafe}


class PlainRedis(RedisServer):
    """Without a file, as each of the compared programs is measured with it."""

    def settings(self) -> dict[str, str]:
        return super().settings() | {"appendonly": "no"}


class Ground:
    """Servers start when the first run needs them and end with this."""

    def __init__(self, parent: Path | None = None) -> None:
        self._stack = ExitStack()
        self._postgres: DurablePostgreSQL | None = None
        self._redis: PlainRedis | None = None
        self._templates: set[str] = set()
        self._runs = 0
        self._parent = parent

    def __enter__(self) -> Self:
        place = tempfile.TemporaryDirectory(prefix="benchmarks-", dir=self._parent)
        self.folder = Path(self._stack.enter_context(place))
        memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
        notes = tempfile.TemporaryDirectory(
            prefix="benchmarks-", dir=memory if memory.is_dir() else None
        )
        self.notes = Path(self._stack.enter_context(notes))
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def next_run(self) -> str:
        self._runs += 1
        return f"run{self._runs}"

    # --------------------------------------------------------------------- servers

    @property
    def postgres(self) -> DurablePostgreSQL:
        if self._postgres is None:
            server = DurablePostgreSQL(folder=self._parent)
            self._postgres = self._stack.enter_context(server)
        return self._postgres

    @property
    def redis(self) -> PlainRedis:
        if self._redis is None:
            self._redis = self._stack.enter_context(PlainRedis(folder=self._parent))
        return self._redis

    def spare_redis(self) -> PlainRedis:
        """Another one, not started yet: each run empties its own."""
        return PlainRedis(folder=self._parent)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=ADDRESS,
            port=self.postgres.port,
            user=USER,
            dbname=database,
            autocommit=True,
        )

    # ------------------------------------------------------------------- databases

    def database(self, kind: str, template: str, migrate: Migrate) -> dict[str, Any]:
        """A new database like that of this name, which is made when it is first asked
        for. What programs of a run are told of it.
        """
        make = self._on_server if kind == "pg" else self._in_a_file
        if template not in self._templates:
            migrate(make(template, None))
            self._templates.add(template)
        return make(self.next_run(), template)

    def _on_server(self, name: str, template: str | None) -> dict[str, Any]:
        with closing(self.connect()) as line:
            said = SQL("CREATE DATABASE {} TEMPLATE {}")
            line.execute(said.format(*map(Identifier, (name, template or "template1"))))
        return {"kind": "pg", "name": name, "port": self.postgres.port, "user": USER}

    def _in_a_file(self, name: str, template: str | None) -> dict[str, Any]:
        file = self.folder / f"{name}.sqlite3"
        if template is not None:
            shutil.copy(self.folder / f"{template}.sqlite3", file)
        return {"kind": "sqlite", "name": str(file)}

    def drop(self, told: dict[str, Any]) -> None:
        """Free the disk of a run that is over."""
        if told["kind"] == "pg":
            with closing(self.connect()) as line:
                said = SQL("DROP DATABASE {} WITH (FORCE)")
                line.execute(said.format(Identifier(told["name"])))
        else:
            for file in self.folder.glob(f"{Path(told['name']).name}*"):
                file.unlink()
