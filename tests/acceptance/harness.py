"""RunningCluster: a real `qcluster` that a test starts, asks, harms and stops."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn, Self

import psutil

from django_q.brokers import Broker, get_broker
from django_q.models import OrmQ, Task
from django_q.status import Stat
from django_q.tasks import async_task
from tests.functions import add, words
from tests.waiting import wait_until

HOUSE = Path(__file__).resolve().parents[2]
ROLES = ("worker", "pusher", "monitor", "housekeeper", "sentinel", "root")


class RunningCluster:
    """Runs in a session of its own, so that whatever it leaves behind can be found.

    Serves a queue of its own unless one is given, so that clusters do not meet.
    """

    program: Sequence[str] = ("-m", "django", "qcluster")
    """What is run; the programs of some tests start their cluster themselves."""

    def __init__(
        self, folder: Path, arguments: Sequence[str] = (), **settings: Any
    ) -> None:
        self.settings = {"cluster_name": f"q{uuid.uuid4().hex[:8]}", **settings}
        self.queue: str = self.settings["cluster_name"]
        self.arguments = arguments
        self.folder = folder
        self.log_file = folder / f"{self.queue}-{uuid.uuid4().hex[:4]}.log"
        self.signals_file = folder / "signals"
        self.environment: dict[str, str] = {}
        self.complaints: str | None = None
        """A pattern of log lines with tracebacks that the test brings about."""

    # -- life

    def on_host(self, name: str) -> Self:
        """Let it see no file of clusters on other hosts; without this, all are on one."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        self.environment["XDG_RUNTIME_DIR"] = str(folder)
        return self

    def start(self) -> Self:
        """Start it; it may not work yet."""
        command = [sys.executable, *self.program, *self.arguments]
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.acceptance.settings",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "default",
            "QTEST_CACHE": str(self.folder / "cache"),
            "QTEST_CLUSTER": json.dumps(self.settings),
            "QTEST_SIGNALS": str(self.signals_file),
            "XDG_RUNTIME_DIR": str(self.folder),
        }
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=HOUSE,
                env=environment | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def wait_until_running(self, within: float = 30.0) -> RunningCluster:
        """All roles are there, as the vital signs tell."""

        def is_running() -> bool:
            if self.process.poll() is not None:
                self.fail(f"ended at once with {self.process.returncode}")
            return self.is_whole()

        wait_until(is_running, within)
        return self

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the root."""
        self.process.send_signal(number)

    def wait_for_end(self, within: float = 20.0) -> int:
        """The exit code of the command, once nothing of the cluster is left."""
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.fail(f"has not ended within {within:g} s")
        self.wait_until_gone()
        return int(self.process.returncode)

    def wait_until_gone(self, within: float = 8.0) -> None:
        """No process of the tree is left, also none that nobody waits for."""
        try:
            wait_until(lambda: not self.members(), within)
        except AssertionError:
            left = [f"{m.pid} {m.ppid()} {m.cmdline()}" for m in self.members()]
            self.fail("left behind: " + "; ".join(left))

    def stop(self, within: float = 20.0) -> int:
        """Stop it as an administrator does."""
        if self.process.poll() is None:
            self.terminate()
        return self.wait_for_end(within)

    def leave(self) -> None:
        """The end of a test: a cluster that still runs stops, cleanly and without a word
        too much.
        """
        try:
            if self.process.poll() is None:
                code = self.stop()
                if code != 0:
                    self.fail(f"stopped with {code}")
                self.complain_if_it_complained()
        finally:
            self.destroy()

    def destroy(self) -> None:
        """Kill what is left of it."""
        signal_all(self.members(), signal.SIGKILL)
        self.process.wait(10)

    def complain_if_it_complained(self) -> None:
        """No traceback and no Python warning, unless the test expects them.

        A traceback is known by the log line before it.
        """
        before = ""
        for line in self.log.splitlines():
            said = f"{before} {line}" if line.startswith("Traceback") else line
            wrong = re.search(r"Traceback|Warning: |CRITICAL", said)
            if wrong and not (self.complaints and re.search(self.complaints, said)):
                self.fail(f"said: {said}")
            before = line

    # -- its processes

    @property
    def pid(self) -> int:
        return self.process.pid

    def members(self) -> list[psutil.Process]:
        """Every living process of its session: children, their children, orphans."""
        return [psutil.Process(pid) for pid in psutil.pids() if self.has(pid)]

    def has(self, pid: int) -> bool:
        """Whether this process belongs to the cluster and lives."""
        try:
            mine = pid > 0 and os.getsid(pid) == self.process.pid
            return mine and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            return False

    def stat(self) -> Stat | None:
        """Its latest vital signs."""
        mine = [stat for stat in Stat.get_all() if stat.pid == self.process.pid]
        return max(mine, key=lambda stat: stat.timestamp, default=None)

    def pids(self, role: str) -> list[int]:
        """The processes of a role, as the vital signs tell; 0 while it is missing."""
        if role == "root":
            return [self.process.pid]
        stat = self.stat()
        if stat is None:
            return [0]
        found = stat.workers if role == "worker" else [getattr(stat, role)]
        return list(found) or [0]

    def is_whole(self) -> bool:
        """Every role is there and lives."""
        pids = [pid for role in ROLES for pid in self.pids(role)]
        wanted = self.settings.get("workers", 2)
        return (
            all(map(self.has, pids))
            and len(self.pids("worker")) == wanted
            and self.state() in ("idle", "working")
        )

    def state(self) -> str:
        stat = self.stat()
        return stat.state if stat else "unknown"

    def kill(self, role: str, number: int = signal.SIGKILL, which: int = 0) -> int:
        """Send a signal to a process of a role; gives its pid."""
        wait_until(lambda: self.has(self.pids(role)[which]))
        pid = self.pids(role)[which]
        os.kill(pid, number)
        return pid

    def send_signal(self, pid: int, number: int) -> None:
        """Send a signal to a process of this cluster, and to no other."""
        if not self.has(pid):
            self.fail(f"has no process {pid}")
        os.kill(pid, number)

    @contextmanager
    def paused(self) -> Iterator[float]:
        """All its processes stand still, as in a virtual machine that is paused."""
        still = self.members()
        signal_all(still, signal.SIGSTOP)
        try:
            yield monotonic()
        finally:
            signal_all(still, signal.SIGCONT)

    @contextmanager
    def stopped(self, role: str) -> Iterator[None]:
        """One process of a role stands still."""
        pid = self.kill(role, signal.SIGSTOP)
        try:
            yield
        finally:
            self.send_signal(pid, signal.SIGCONT)

    def kill_everything(self) -> None:
        """What a power failure does: nobody gets to say a word."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            signal_all(self.members(), number)
        self.process.wait(10)
        self.wait_until_gone()

    # -- its work

    def send(self, func: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> str:
        """async_task for this cluster."""
        if "q_options" not in kwargs:
            kwargs.setdefault("cluster", self.queue)
        return async_task(func, *args, **kwargs)

    def send_many(
        self,
        count: int,
        func: Callable[..., Any] | str,
        path: str,
        *args: Any,
        **kwargs: Any,
    ) -> list[str]:
        """The same task several times, with the words w0, w1, … for its log."""
        return [self.send(func, path, f"w{n}", *args, **kwargs) for n in range(count)]

    def wait_for(self, task_id: str, within: float = 15.0) -> Task:
        """The row of a task, once it is there; the task is out of the queue then."""
        rows = self.wait_for_all([task_id], within)
        return rows[0]

    def wait_for_all(self, ids: Iterable[str], within: float = 30.0) -> list[Task]:
        """Their rows, one each, in this order; the queue is empty then."""
        wanted = list(ids)
        rows: dict[str, Task] = {}

        def all_ended() -> bool:
            missing = [i for i in wanted if i not in rows]
            rows.update(Task.objects.in_bulk(missing))
            return len(rows) == len(wanted) and self.queue_is_empty()

        try:
            wait_until(all_ended, within, every=0.05)
        except AssertionError:
            waiting = list(OrmQ.objects.filter(key=self.queue).values())
            for row in waiting:
                row["payload"] = "…"
            self.fail(f"{len(rows)} of {len(wanted)} tasks ended; queue: {waiting}")
        return [rows[task_id] for task_id in wanted]

    def broker(self) -> Broker:
        """Its queue, as a producer sees it."""
        return get_broker(self.queue)

    def left(self) -> int:
        """Packages on its queue that wait or are held."""
        with closing(self.broker()) as broker:
            return broker.queue_size() + broker.lock_size()

    def queue_is_empty(self) -> bool:
        return not self.left()

    def works(self, within: float = 10.0) -> None:
        """A new task runs to its end."""
        row = self.wait_for(self.send(add, 20, 22), within)
        if row.result != 42:
            self.fail(f"gave {row.result!r}")

    # -- what it says

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def says(self, pattern: str) -> bool:
        return re.search(pattern, self.log) is not None

    def lines(self, pattern: str) -> list[str]:
        """Those of its log that say it."""
        return [line for line in self.log.splitlines() if re.search(pattern, line)]

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.log))

    def fail(self, reason: str) -> NoReturn:
        text = f"The cluster {reason}.\n--- its log ---\n{self.log[-6000:]}"
        raise AssertionError(text)


def signal_all(processes: Iterable[psutil.Process], number: int) -> None:
    """To those of them that still live."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


class Diary:
    """What the tasks of tests/functions.py wrote down themselves: the truth."""

    def __init__(self, path: str) -> None:
        self.path = path

    def of(self, kind: str) -> Counter[str]:
        """How often each word was written with this prefix: start, end, …"""
        prefix = f"{kind}:"
        found = (word for word in words(self.path) if word.startswith(prefix))
        return Counter(word.removeprefix(prefix) for word in found)

    def has_begun(self, count: int = 1) -> bool:
        return len(self.of("start")) >= count

    def wait_until_begun(self, count: int = 1, within: float = 10.0) -> None:
        """So many different tasks have been started."""

        def begun() -> bool:
            return self.has_begun(count)

        wait_until(begun, within)

    def extra_ends(self) -> int:
        """How many runs to the end were too many."""
        ends = self.of("end")
        return ends.total() - len(ends)
