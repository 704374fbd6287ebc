"""Trial: one configuration on a clean database, from its producer to its end."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import psutil
import psycopg
from redis import Redis

from benchmarks.configs import Config
from benchmarks.environments import Environments
from benchmarks.ground import Ground
from benchmarks.machine import Load, exact_cpu_of, load, memory_of, trees
from tests.environment import ROOT
from tests.servers import ADDRESS, RedisServer

SETTINGS: Final = "benchmarks.site.settings"
VARIABLE: Final = "DJANGO_Q_BENCHMARK"
LINE: Final = struct.Struct("<qqqq")
GOODBYE: Final = 15.0
"""Seconds that worker programs have to stop."""


class TrialFailed(Exception):
    """A program of the trial ended or stayed away; the message has its last words."""


class Execution(NamedTuple):
    """A task that ran: times are nanoseconds of the clock that all processes share."""

    number: int
    begun: int
    ended: int
    process: int


class Trial:
    """The programs of one run. Leaving it ends them, and drops its database."""

    def __init__(
        self,
        ground: Ground,
        places: Environments,
        config: Config,
        redis: RedisServer | None = None,
    ) -> None:
        self.ground = ground
        self._redis = redis
        self.config = config
        self.python = places.python(config.environment)
        self.processes: list[subprocess.Popen[bytes]] = []
        self._line: psycopg.Connection[Any] | None = None
        self._clients: dict[int, Redis] = {}
        name = ground.next_run()
        self.log = ground.notes / f"{name}.tasks"
        self.words = ground.folder / f"{name}.log"
        self.file = ground.folder / f"{name}.file"
        self.site = ground.folder / "site"
        self.told: dict[str, Any] = {
            "environment": config.environment,
            "producer": config.producer,
            "options": dict(config.options),
            "log": str(self.log),
            "file": str(self.file),
        }

    def __enter__(self) -> Self:
        # Nothing but this package: a peer must not find our source beside it.
        if not self.site.exists():
            self.site.mkdir()
            (self.site / "benchmarks").symlink_to(ROOT / "benchmarks")
        self.log.touch()
        if self.config.uses_redis:
            self.told["redis_port"] = self.redis_server.port
            self.redis().flushall()
        if self.config.database:
            results = self.config.options.get("results", "")
            template = f"{self.config.environment}{self.config.database}{results}"
            self.told["database"] = self.ground.database(
                self.config.database, template, self._migrate
            )
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        for client in self._clients.values():
            client.close()
        if self._line is not None:
            self._line.close()
        if "database" in self.told:
            self.ground.drop(self.told["database"])
        self.log.unlink()

    # -------------------------------------------------------------------- programs

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "DJANGO_"))
        }
        kept |= {VARIABLE: json.dumps(self.told), "PYTHONPATH": str(self.site)}
        if self.config.uses_django:
            kept["DJANGO_SETTINGS_MODULE"] = SETTINGS
        return kept

    def run(self, *words: str) -> str:
        """What a program prints in the environment of the peer."""
        done = subprocess.run(
            [str(self.python), *words],
            cwd=self.site,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise TrialFailed(f"{' '.join(words)}: {done.stderr[-1500:]}")
        return done.stdout

    def _migrate(self, database: dict[str, Any]) -> None:
        self.told["database"] = database
        if self.config.uses_django:
            self.run("-m", "django", "migrate", "--verbosity=0")
        else:
            self.run("-m", "benchmarks.site.pq_program", "create")

    def produce(
        self, mode: str, count: int, first: int = 0, file: Path | None = None
    ) -> dict[str, Any]:
        """Enqueue tasks with these numbers; gives what it took."""
        words = [mode, str(count), str(first), *([str(file)] if file else [])]
        said = self.run("-m", "benchmarks.site.produce", *words)
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    def start(self, *, times: int = 1) -> int:
        """The worker programs; gives the moment in nanoseconds."""
        places = {"python": str(self.python), "bin": str(self.python.parent)}
        begun = time.monotonic_ns()
        for command in self.config.commands * times:
            with self.words.open("ab") as words:
                process = subprocess.Popen(
                    [word.format(**places) for word in command],
                    cwd=self.site,
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=words,
                    stderr=words,
                    start_new_session=True,
                )
            self.processes.append(process)
        return begun

    def stop(self) -> None:
        """Ask them to end, and make sure of it."""
        below = trees(self.roots)
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GOODBYE
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        # psutil knows when a number has passed to another process.
        for left in below:
            with suppress(psutil.NoSuchProcess):
                left.kill()
        self.processes = []

    # ------------------------------------------------------------------ what it does

    @property
    def roots(self) -> list[int]:
        return [process.pid for process in self.processes]

    @property
    def redis_server(self) -> RedisServer:
        return self._redis or self.ground.redis

    @property
    def servers(self) -> list[int]:
        used = [self.redis_server.pid] if self.config.uses_redis else []
        return used + ([self.ground.postgres.pid] if self.is_on_server else [])

    @property
    def is_on_server(self) -> bool:
        return self.config.database == "pg"

    def load(self) -> Load:
        return load(self.roots, self.servers)

    def exact_cpu(self) -> float:
        """Of the worker programs, in seconds."""
        return exact_cpu_of(self.roots)

    def memory(self) -> tuple[float, int]:
        """MiB, and processes."""
        return memory_of(self.roots)

    def wait(self, has_come: Callable[[], bool], within: float, nap: float) -> bool:
        """Whether it came before the time was over or a worker program ended."""
        deadline = time.monotonic() + within
        while not has_come():
            ended = any(process.poll() is not None for process in self.processes)
            if ended or time.monotonic() > deadline:
                return has_come()
            time.sleep(nap)
        return True

    def wait_for_runs(self, count: int, within: float, nap: float = 0.02) -> bool:
        return self.wait(lambda: self.executed() >= count, within, nap)

    def wait_for_first(self) -> None:
        if not self.wait_for_runs(1, within=60, nap=0.004):
            raise TrialFailed(f"No task has run: {self.last_words()}")

    def executions(self) -> list[Execution]:
        data = self.log.read_bytes()
        whole = len(data) - len(data) % LINE.size
        return [Execution(*line) for line in LINE.iter_unpack(data[:whole])]

    def last_words(self) -> str:
        return self.worker_log()[-1500:].decode(errors="replace")

    # ------------------------------------------------------------------ what is counted

    def executed(self) -> int:
        return self.log.stat().st_size // LINE.size

    def worker_log(self) -> bytes:
        return self.words.read_bytes() if self.words.exists() else b""

    def redis(self, database: int = 0) -> Redis:
        if database not in self._clients:
            port = self.redis_server.port
            self._clients[database] = Redis(host=ADDRESS, port=port, db=database)
        return self._clients[database]

    def ask(self, question: str) -> int:
        if not self.is_on_server:
            return ask_file(Path(self.told["database"]["name"]), question)
        if self._line is None:
            self._line = self.ground.connect(self.told["database"]["name"])
        return first_of(self._line.execute(question.encode()).fetchone())

    def ask_file(self, question: str) -> int:
        return ask_file(self.file, question)


def ask_file(file: Path, question: str) -> int:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as line:
        return first_of(line.execute(question).fetchone())


def first_of(row: Sequence[Any] | None) -> int:
    return int(row[0]) if row else 0
