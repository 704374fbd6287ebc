"""Private servers: on a free port of this machine, in a folder of their own.

Each is a context manager that starts a server and stops it again by its process id.
Only the standard library, so that tests/run.py can use it before anything is installed.

On a desk, for one database:  python -m tests.servers postgres -- pytest -m database
Redis is started by the tests that need it: the fixture `redis_server` of tests/conftest.py.
Another one than that of the path:  REDIS_SERVER=/opt/valkey/bin/valkey-server pytest …
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Self, TypedDict

USER = "django_q"
GUEST = "guest"
"""Has a password, and no rights but those that a test gives."""

GUESTS_WORD = "plain"
ADDRESS = "127.0.0.1"


class ServerFailed(Exception):
    """A server that is installed did not start; the message ends with its log."""


class Identity(TypedDict, total=False):
    """Who a child process is, as `subprocess` takes it."""

    user: int
    group: int
    extra_groups: list[int]


class Server:
    """One server process. A subclass knows its programs and its first steps."""

    title: ClassVar[str]
    database: ClassVar[str]
    """What QTEST_DATABASE calls it."""
    packages: ClassVar[tuple[str, ...]]
    """What Debian calls it."""
    account: ClassVar[str]
    """Who runs it when we are root: these servers refuse to run as root."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, *, folder: Path | None = None, within: float = 60.0) -> None:
        self.parent = folder
        self.within = within
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------- what a subclass says

    @classmethod
    def programs(cls) -> dict[str, Path] | None:
        """Where its programs are; None when it is not installed."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the empty data folder."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The server in the foreground, on `self.port`."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it takes connections now."""
        raise NotImplementedError

    @property
    def home(self) -> Path:
        """Where it runs."""
        return self.folder

    # -------------------------------------------------------------- start and stop

    @classmethod
    def version(cls) -> str | None:
        """Such as "15.18"; None when it is not installed."""
        programs = cls.programs()
        if programs is None:
            return None
        said = subprocess.run(
            [programs["server"], "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.search(r"(?:Ver |\) )?(\d+\.\d+)", said)
        return found[1] if found else "of unknown version"

    def start(self) -> Self:
        self.move_into(Path(tempfile.mkdtemp(prefix="django-q-", dir=self.parent)))
        try:
            self.give_away(self.folder)
            self.prepare()
            self.launch()
        except BaseException:
            self.stop()
            raise
        return self

    def move_into(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"

    @classmethod
    def of_this_run(cls) -> Self | None:
        """The one that runs for these tests already, which another process has started
        and will end; it can be stopped and started again in between.
        """
        folder = os.environ.get("QTEST_DATABASE_FOLDER")
        if folder is None:
            return None
        server = cls()
        server.port = int(os.environ["QTEST_DATABASE_PORT"])
        server.move_into(Path(folder))
        return server

    def leave_running(self) -> None:
        """Whoever has started the one before it will end it, see `end_successor`."""
        if self.process is not None:
            # Python asks for those that nobody has waited for.
            self.process.returncode = 0
            self.process = None

    @property
    def pid(self) -> int:
        """Of the process that runs now, whoever has started it."""
        if self.process is not None:
            return self.process.pid
        assert self.pid_file is not None
        return int(self.pid_file.read_text().split()[0])

    @property
    def pid_file(self) -> Path | None:
        """Where it writes its pid, while it runs."""
        return None

    def launch(self) -> None:
        # Between finding a free port and using it, somebody else may take it.
        for _ in range(3):
            self.port = free_port()
            if self.runs():
                return
        raise ServerFailed(f"{self.title} does not start:\n{self.last_words()}")

    def runs(self) -> bool:
        """Run it on its port."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
                **self.identity(),
            )
        return self.comes_up()

    def comes_up(self) -> bool:
        deadline = time.monotonic() + self.within
        while self.process is not None and self.process.poll() is None:
            if self.answers():
                return True
            if time.monotonic() > deadline:
                self.end_process()
                raise ServerFailed(
                    f"{self.title} does not answer:\n{self.last_words()}"
                )
            time.sleep(0.05)
        return False

    def stop(self) -> None:
        """End it and remove its folder; harmless when it does not run."""
        self.end_process()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end_process(self) -> None:
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            self.end_successor()
            return
        process.send_signal(self.stop_signal)
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
        finally:
            process.kill()
            process.wait()

    def end_successor(self) -> None:
        """End the one that another process has started instead."""
        if self.pid_file is None or not self.pid_file.exists():
            return
        deadline = time.monotonic() + 20
        with suppress(ProcessLookupError):
            os.kill(self.pid, self.stop_signal)
            while self.pid_file.exists() and time.monotonic() < deadline:
                time.sleep(0.02)

    def come_back(self) -> None:
        """Start it again where it was, with all that it had."""
        if not self.runs():
            raise ServerFailed(f"{self.title} does not start:\n{self.last_words()}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    # ------------------------------------------------------------------ how to use

    @property
    def url(self) -> str:
        return f"{self.database}://{USER}@{ADDRESS}:{self.port}"

    def environment(self) -> dict[str, str]:
        """What tests/settings.py wants to know."""
        return {
            "QTEST_DATABASE": self.database,
            "QTEST_DATABASE_HOST": ADDRESS,
            "QTEST_DATABASE_PORT": str(self.port),
            "QTEST_DATABASE_USER": USER,
            "QTEST_DATABASE_FOLDER": str(self.folder),
        }

    # --------------------------------------------------------------------- helpers

    def program(self, name: str) -> Path:
        programs = self.programs()
        if programs is None:
            raise ServerFailed(f"{self.title} is not installed.")
        return programs[name]

    def run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self.identity(),
        )
        if done.returncode:
            raise ServerFailed(f"{command[0]} failed:\n{done.stdout}{done.stderr}")

    @classmethod
    def identity(cls) -> Identity:
        """Another user than root, for subprocess."""
        if os.geteuid() != 0:
            return {}
        entry = account(cls.account, "nobody")
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def give_away(self, folder: Path) -> None:
        identity = self.identity()
        if identity:
            os.chown(folder, identity["user"], identity["group"])

    def last_words(self) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


class PostgreSQL(Server):
    """PostgreSQL, with durability off: its machine will not crash in our tests."""

    title = "PostgreSQL"
    database = "postgres"
    packages = ("postgresql",)
    account = "postgres"
    # The "fast" way: it does not wait for its clients.
    stop_signal = signal.SIGINT

    @classmethod
    def programs(cls) -> dict[str, Path] | None:
        folders = [Path(found).parent for found in [shutil.which("postgres")] if found]
        # Debian keeps them out of the path, one folder for each version.
        versions = Path("/usr/lib/postgresql").glob("*/bin")
        folders += sorted(versions, key=version_of, reverse=True)
        for folder in folders:
            names = {"server": "postgres", "initdb": "initdb", "ready": "pg_isready"}
            programs = {key: folder / name for key, name in names.items()}
            if all(program.exists() for program in programs.values()):
                return programs
        return None

    def prepare(self) -> None:
        self.run(
            self.program("initdb"),
            f"--pgdata={self.data}",
            f"--username={USER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        )
        people = self.data / "pg_hba.conf"
        known = f"host all {GUEST} {ADDRESS}/32 scram-sha-256\n"
        people.write_text(known + people.read_text())

    def settings(self) -> dict[str, str]:
        return {
            "listen_addresses": ADDRESS,
            "port": str(self.port),
            # No socket in a folder: its lock would outlive a server that was killed.
            "unix_socket_directories": "",
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": "200",
        }

    def command(self) -> list[str]:
        said = [f"--{key}={value}" for key, value in self.settings().items()]
        return [str(self.program("server")), "-D", str(self.data), *said]

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    def answers(self) -> bool:
        command = [
            str(self.program("ready")),
            "-q",
            "-h",
            ADDRESS,
            "-p",
            str(self.port),
        ]
        return subprocess.run(command, check=False).returncode == 0


class MariaDB(Server):
    """MariaDB, with durability off: its machine will not crash in our tests."""

    title = "MariaDB"
    database = "mysql"
    packages = ("mariadb-server",)
    account = "mysql"

    @classmethod
    def programs(cls) -> dict[str, Path] | None:
        server = first_program("mariadbd", "/usr/sbin/mariadbd")
        install = first_program("mariadb-install-db", "/usr/bin/mariadb-install-db")
        if server is None or install is None:
            return None
        return {"server": server, "install": install}

    def prepare(self) -> None:
        self.run(
            self.program("install"),
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        people = self.folder / "people.sql"
        people.write_text(
            f"CREATE USER '{USER}'@'{ADDRESS}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'{ADDRESS}' WITH GRANT OPTION;\n"
            f"CREATE USER '{GUEST}'@'{ADDRESS}' IDENTIFIED BY '{GUESTS_WORD}';\n"
        )
        people.chmod(0o644)

    def command(self) -> list[str]:
        return [
            str(self.program("server")),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--init-file={self.folder / 'people.sql'}",
            f"--bind-address={ADDRESS}",
            f"--port={self.port}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.pid_file}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=64M",
            # Tests may kill it: what was committed is with the system then.
            "--innodb-flush-log-at-trx-commit=2",
            "--max-connections=200",
        ]

    @property
    def pid_file(self) -> Path:
        return self.folder / "pid"

    def answers(self) -> bool:
        # It greets first, and only when it is ready.
        try:
            with socket.create_connection((ADDRESS, self.port), timeout=1) as line:
                return bool(line.recv(4))
        except OSError:
            return False


class RedisServer(Server):
    """Redis, which writes nothing to disk but when it is asked to.

    The environment variable REDIS_SERVER may name another program.
    """

    title = "Redis"
    database = "redis"
    packages = ("redis-server",)
    account = "redis"

    @classmethod
    def programs(cls) -> dict[str, Path] | None:
        server = first_program(
            os.environ.get("REDIS_SERVER") or "redis-server", "valkey-server"
        )
        return None if server is None else {"server": server}

    @classmethod
    def version(cls) -> str | None:
        programs = cls.programs()
        if programs is None:
            return None
        said = subprocess.run(
            [programs["server"], "--version"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.search(r"v=(\d+\.\d+)", said)
        return found[1] if found else "of unknown version"

    def prepare(self) -> None:
        self.data.mkdir()
        self.give_away(self.data)

    def settings(self) -> dict[str, str]:
        return {
            "bind": ADDRESS,
            "port": str(self.port),
            "dir": str(self.data),
            "unixsocket": str(self.socket),
            # A restart in order finds everything again.
            "appendonly": "yes",
            "appendfsync": "no",
            "save": "",
            # A replica is served at once.
            "repl-diskless-sync-delay": "0",
        }

    def command(self) -> list[str]:
        settings = self.settings().items()
        said = [word for key, value in settings for word in (f"--{key}", value)]
        return [str(self.program("server")), *said]

    def answers(self) -> bool:
        try:
            with socket.create_connection((ADDRESS, self.port), timeout=1) as line:
                line.sendall(b"PING\r\n")
                return line.recv(5) in {b"+PONG", b"-NOAU"}
        except OSError:
            return False

    @property
    def socket(self) -> Path:
        return self.data / "socket"

    def restart(self) -> None:
        """Stop it, and start it again where it was, with all that it had."""
        self.end_process()
        self.come_back()

    @property
    def url(self) -> str:
        return f"redis://{ADDRESS}:{self.port}/0"


class SqsServer(Server):
    """What moto makes of Amazon SQS, over HTTP; its clock can be put forward."""

    title = "moto"
    database = "sqs"
    packages = ()
    account = "nobody"
    remedy = 'python -m pip install "moto[server]"'

    @classmethod
    def programs(cls) -> dict[str, Path] | None:
        names = ("moto", "flask", "boto3")
        has_all = all(find_spec(name) is not None for name in names)
        return {"server": Path(sys.executable)} if has_all else None

    @classmethod
    def version(cls) -> str | None:
        return None if cls.programs() is None else metadata.version("moto")

    def prepare(self) -> None:
        self.clock = self.data / "clock"
        self.data.mkdir()
        self.clock.write_bytes(struct.pack("d?", 0, False))

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "tests.moto_server",
            str(self.port),
            str(self.clock),
        ]

    @property
    def home(self) -> Path:
        return Path(__file__).resolve().parents[1]

    @classmethod
    def identity(cls) -> Identity:
        """It is Python as the tests are, and refuses nobody."""
        return {}

    def answers(self) -> bool:
        try:
            with socket.create_connection((ADDRESS, self.port), timeout=1):
                return True
        except OSError:
            return False

    def pass_time(self, seconds: float) -> None:
        """From now on it is so much later."""
        with self.clock.open("r+b") as clock:
            [ahead] = struct.unpack_from("d", clock.read())
            clock.seek(0)
            clock.write(struct.pack("d", ahead + seconds))

    def be_strict(self, is_strict: bool) -> None:
        """Refuse what was signed at another time, as Amazon does, or do not; it is as late
        here as elsewhere again.
        """
        with self.clock.open("r+b") as clock:
            clock.write(struct.pack("d?", 0, is_strict))

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """Q_CLUSTER['sqs'] for it."""
        return {
            "aws_region": "eu-central-1",
            "aws_access_key_id": "testing",
            "aws_secret_access_key": "testing",
            "endpoint_url": self.url,
        }


SERVERS: dict[str, type[Server]] = {
    kind.database: kind for kind in (PostgreSQL, MariaDB)
}
"""Databases: what uses one is run on each."""

BESIDE: tuple[type[Server], ...] = (RedisServer,)
"""What the tests start themselves, beside any database."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


def account(*names: str) -> pwd.struct_passwd:
    """The first of these users that this machine knows."""
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerFailed(f"None of the users {', '.join(names)} exists.")


def first_program(*names: str) -> Path | None:
    found = (shutil.which(name) for name in names)
    return next((Path(program) for program in found if program), None)


def version_of(folder: Path) -> int:
    """The 15 in /usr/lib/postgresql/15/bin."""
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


def main(arguments: Sequence[str]) -> int:
    """Run a command while a server runs: `postgres -- pytest …`."""
    kind = SERVERS.get(arguments[0]) if len(arguments) > 2 else None
    if kind is None or arguments[1] != "--":
        print(f"usage: python -m tests.servers {'|'.join(SERVERS)} -- COMMAND …")
        return 2
    if kind.programs() is None:
        print(f"{kind.title} is not installed: apt install {' '.join(kind.packages)}")
        return 2
    with kind() as server:
        environment = {**os.environ, **server.environment()}
        return subprocess.run(arguments[2:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
