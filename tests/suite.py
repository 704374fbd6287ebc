"""What tests/run.py does: an environment, the servers that are there, pytest for each.

Only the standard library: this runs before anything is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn
from xml.etree import ElementTree

from tests import environment
from tests.environment import ROOT, SetUpFailed, Wanted
from tests.servers import BESIDE, SERVERS, Server, ServerFailed

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# With more failures than this, the code is to blame and not a busy machine. One that took
# half as long again for everything made five of seven thousand fail.
SECOND_TRIES = 10

# Where tests have clusters or servers beside them, which a busy machine keeps waiting.
WITH_OTHERS = (
    "tests.acceptance.",
    "tests.contract.",
    "tests.contract_q.",
    "tests.faults.",
    "tests.integration.",
)

# What tests start beside servers; Debian's packages have the same names.
TOOLS = ("strace",) if sys.platform == "linux" else ()

# What a driver without wheels needs to be built with.
BUILD_PACKAGES = ("build-essential", "libmariadb-dev", "pkg-config", "python3-dev")


@dataclass
class Counts:
    """What pytest counted; adds up over the databases."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    code: int = 0
    failures: list[str] = field(default_factory=list)
    """The tests that failed, as `tests.acceptance.test_x::test_name[case]`."""
    unsteady: list[str] = field(default_factory=list)
    """Those that failed beside others and passed when they were run again, alone."""

    def add(self, other: Counts) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.code = self.code or other.code
        self.failures += other.failures
        self.unsteady += other.unsteady

    def may_be_the_clock(self) -> bool:
        """Whether only a few tests with clusters or servers failed, and nothing else.

        Of pytest's exit codes, 1 says that tests failed; others, that it broke.
        """
        return (
            self.code == 1
            and 0 < self.failed == len(self.failures) <= SECOND_TRIES
            and all(name.startswith(WITH_OTHERS) for name in self.failures)
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass
class Bench:
    """The environment, and the servers found; why others are missing."""

    python: Path
    found: list[type[Server]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Title of a server → what to do to have it."""


def main(arguments: Sequence[str]) -> int:
    # Stopped from outside, leave through the context managers: no server stays. A shell
    # starts background jobs with SIGINT ignored, and pytest would inherit that.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    options = parse(arguments)
    started = time.monotonic()
    try:
        bench = set_up(options)
        print(using(bench, options.databases), flush=True)
        counts = run_all(bench, options, deadline=started + 60 * options.minutes)
    except (SetUpFailed, ServerFailed) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return report(bench, counts, seconds=time.monotonic() - started)


def leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    known = ["sqlite", *SERVERS]
    parser = argparse.ArgumentParser(
        prog="tests/run.py",
        description="Set everything up in .venv, start private servers, run the tests.",
        epilog="What stands after -- goes to pytest: tests/run.py -- -k timeout -x",
    )
    add = parser.add_argument
    add("--python", metavar="3.13", help="test with this Python, in its own folder")
    add("--django", metavar="6.1", help="test with this Django, in its own folder")
    add("--databases", default=",".join(known), help="default: %(default)s")
    add("--extras", default="", help="more extras of setup.py: lint,docs")
    add("--wheels", metavar="DIR", help="install from this folder, without a network")
    add("--minutes", type=float, default=20, help="stop after so long (%(default)g)")
    add("pytest", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.databases = [name for name in options.databases.split(",") if name]
    unknown = set(options.databases) - set(known)
    if unknown:
        parser.error(
            f"unknown database {', '.join(unknown)}; one of {', '.join(known)}"
        )
    return options


# ------------------------------------------------------------------------- set-up


def set_up(options: argparse.Namespace) -> Bench:
    wanted = Wanted(
        python=options.python,
        django=options.django,
        extras=("test", *(extra for extra in options.extras.split(",") if extra)),
        wheels=options.wheels,
    )
    kinds = [kind for name, kind in SERVERS.items() if name in options.databases]
    install_packages([*BESIDE, *kinds])
    bench = Bench(python=environment.prepare(wanted))
    for kind in [*BESIDE, *kinds]:
        remedy = what_lacks(kind, bench.python, wheels=options.wheels)
        if remedy:
            bench.missing[kind.title] = remedy
        else:
            bench.found.append(kind)
    bench.missing |= {tool: f"sudo apt install {tool}" for tool in missing_tools()}
    return bench


def install_packages(kinds: Sequence[type[Server]]) -> None:
    """Debian's packages, where nobody minds: as root, in CI. Nowhere else."""
    if not (IN_CI and os.geteuid() == 0 and shutil.which("apt-get")):
        return
    # Of two runs side by side the second waits, and then finds what the first brought.
    with (Path(tempfile.gettempdir()) / "django-q-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [p for kind in kinds if not kind.programs() for p in kind.packages]
        if any(kind.database == "mysql" for kind in kinds) and not can_build():
            missing += BUILD_PACKAGES
        missing += missing_tools()
        if missing:
            fetch_packages(missing)


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def fetch_packages(names: Sequence[str]) -> None:
    print("installing", *names, "…", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names]
    for command in (["apt-get", "update", "-q"], install):
        done = subprocess.run(
            command, env=quiet, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SetUpFailed(
                f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}"
            )


def what_lacks(kind: type[Server], python: Path, *, wheels: str | None) -> str | None:
    """What to do before this server can be used; None when it is ready."""
    if kind.programs() is None:
        return f"sudo apt install {' '.join(kind.packages)}"
    if kind.database == "mysql" and not has_mysql_driver(python, wheels=wheels):
        return f"sudo apt install {' '.join(BUILD_PACKAGES)}"
    return None


def has_mysql_driver(python: Path, *, wheels: str | None) -> bool:
    """Whether mysqlclient is there. It has to be compiled, so not everybody gets it."""
    if environment.succeeds([str(python), "-c", "import MySQLdb"]):
        return True
    if not can_build():
        return False
    try:
        environment.install(python, ["mysqlclient>=2.2.1"], wheels=wheels)
    except SetUpFailed:
        return False
    return True


def can_build() -> bool:
    """Whether a driver of MariaDB can be compiled here."""
    has_client = shutil.which("mariadb_config") or shutil.which("mysql_config")
    return bool(has_client and shutil.which("cc") and shutil.which("pkg-config"))


def using(bench: Bench, databases: Sequence[str]) -> str:
    names = ["SQLite"] if "sqlite" in databases else []
    names += [f"{kind.title} {kind.version()}" for kind in bench.found]
    names += [f"{title}: not installed, skipped" for title in bench.missing]
    code = "import django, platform as p; print(p.python_version(), django.__version__)"
    python, django = environment.ask(bench.python, code).split()
    return "using: " + " · ".join([f"Python {python}", f"Django {django}", *names])


# -------------------------------------------------------------------------- tests


def run_all(bench: Bench, options: argparse.Namespace, *, deadline: float) -> Counts:
    """Everything on SQLite, then what needs a database on each other one."""
    total = Counts()
    if "sqlite" in options.databases:
        total.add(run_pytest(bench.python, options.pytest, {}, deadline=deadline))
    for kind in bench.found:
        if kind in BESIDE:
            continue
        print(f"\n{kind.title}: the tests that use a database", flush=True)
        with kind() as server:
            chosen = ["-m", "database", *options.pytest]
            extra = server.environment()
            total.add(run_pytest(bench.python, chosen, extra, deadline=deadline))
    return total


def run_pytest(
    python: Path, arguments: Sequence[str], extra: Mapping[str, str], *, deadline: float
) -> Counts:
    """All that is chosen; then once more the few that lost against the clock.

    Tests of whole clusters wait for facts up to a limit, and a machine that is busy
    with something else can break any limit. So they get one more try, alone, which is
    said in the end. No other test does.
    """
    counts = run_once(python, arguments, extra, deadline=deadline)
    if not counts.may_be_the_clock():
        return counts
    print("\nOnce more, alone:", *counts.failures, sep="\n  ", flush=True)
    chosen = ["--last-failed", *arguments]
    again = run_once(python, chosen, extra, deadline=deadline)
    if again.code or again.passed != counts.failed:
        return counts
    return Counts(
        passed=counts.passed + again.passed,
        skipped=counts.skipped,
        unsteady=counts.failures,
    )


def run_once(
    python: Path, arguments: Sequence[str], extra: Mapping[str, str], *, deadline: float
) -> Counts:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="django-q-"))
        file = Path(folder) / "report.xml"
        # Development mode shows what is not closed; children are told by environment.
        # Its watch over each allocation takes a fifth of all time, and is for code in C.
        modes = {"PYTHONDEVMODE": "1", "PYTHONMALLOC": "pymalloc"}
        variables = {**os.environ, **modes, **extra}
        # Each process of each cluster would compile all modules for itself.
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        process = subprocess.Popen(
            [python, "-m", "pytest", f"--junit-xml={file}", *arguments],
            cwd=ROOT,
            env=variables,
        )
        stack.callback(end, process)
        try:
            code = process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise SetUpFailed("The tests took too long and were stopped.") from None
        return counted(file, code)


def end(process: subprocess.Popen[bytes]) -> None:
    """Let pytest stop what its tests have started; then insist."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    finally:
        process.kill()
        process.wait()


def counted(report: Path, code: int) -> Counts:
    # 5: no test was selected, which is no failure for one database of several.
    counts = Counts(code=0 if code == 5 else code)
    if not report.exists():
        return counts
    root = ElementTree.parse(report).getroot()  # noqa: S314 - our own pytest wrote it
    for suite in root.iter("testsuite"):
        tests, failures, errors, skipped = (
            int(suite.get(key, "0"))
            for key in ("tests", "failures", "errors", "skipped")
        )
        counts.failed += failures + errors
        counts.skipped += skipped
        counts.passed += tests - failures - errors - skipped
        counts.failures += [
            f"{case.get('classname')}::{case.get('name')}"
            for case in suite.iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None
        ]
    return counts


def report(bench: Bench, counts: Counts, *, seconds: float) -> int:
    code = counts.code
    print()
    for title, remedy in bench.missing.items():
        print(f"{title} was skipped: {remedy}, then run this again")
        # On a desk that is fine; in CI it would hide what nobody tested.
        code = code or int(IN_CI)
    if not counts.passed:
        print("No test has run.")
        code = code or 5
    for name in counts.unsteady:
        print(f"Failed beside others, passed alone: {name}")
    print(f"All of it took {seconds:.0f} s.")
    print(counts)
    return code
