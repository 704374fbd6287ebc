"""Lock files: a cluster is dead when the last who held its file has ended, not before."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from django_q.brokers.memory import Memory
from django_q.cluster import lockfile
from django_q.cluster.housekeeper import Housekeeper
from django_q.cluster.launching import key_of, make_lock_file
from django_q.cluster.lines import Line
from django_q.cluster.lockfile import KEPT, LockFile
from django_q.cluster.roles import Identity, Launch, Role
from django_q.options import Options
from tests.unit.cluster.making import CONTEXT, make_board, two_lines
from tests.unit.cluster.scribes import (
    hold_and_fork,
    hold_and_run_a_program,
    hold_and_sleep,
)
from tests.waiting import stays, wait_until

KEY = "0123456789abcdef"


def new_file(folder: Path, key: str = KEY) -> LockFile:
    return LockFile(str(folder), key, uuid.uuid4().hex)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "private"


@pytest.fixture
def observer(folder: Path) -> LockFile:
    """Of another cluster of the same queue; it need not exist to look."""
    return new_file(folder)


@pytest.fixture
def file(folder: Path) -> Iterator[LockFile]:
    made = new_file(folder)
    made.create()
    yield made
    made.leave(is_clean=True)


def found_dead(observer: LockFile) -> list[str]:
    buried: list[str] = []
    observer.bury_others(buried.append)
    return buried


class Holder:
    """A process that does as it is told with a lock file, and one that it started."""

    def __init__(self, target: Callable[..., None], file: LockFile) -> None:
        hearing, telling = CONTEXT.Pipe(duplex=False)
        self.process = CONTEXT.Process(target=target, args=(file, telling))
        self.process.start()
        telling.close()
        self.other = psutil.Process(self._hear(hearing))

    def _hear(self, hearing: Connection) -> int:
        with hearing:
            assert hearing.poll(20)
            pid: int = hearing.recv()
        return pid

    def kill(self) -> None:
        """Kill the first one only."""
        self.process.kill()
        self.process.join()

    def close(self) -> None:
        self.kill()
        self.process.close()
        with suppress(psutil.NoSuchProcess):
            self.other.kill()


@pytest.fixture
def hold(file: LockFile) -> Iterator[Callable[..., Holder]]:
    with ExitStack() as stack:

        def start(target: Callable[..., None]) -> Holder:
            holder = Holder(target, file)
            stack.callback(holder.close)
            return holder

        yield start


# -- what is proved


def test_cluster_is_dead_when_the_last_of_its_processes_is(
    file: LockFile, observer: LockFile, hold: Callable[..., Holder]
) -> None:
    holders = [hold(hold_and_sleep), hold(hold_and_sleep)]
    # The first process dies, and the others go on for a while as orphans.
    file.leave(is_clean=False)
    for holder in holders:
        assert found_dead(observer) == []
        holder.kill()
    assert found_dead(observer) == [file.cluster]
    assert found_dead(observer) == [], "it is asked for once"


def test_fork_of_a_task_counts_as_alive(
    file: LockFile, observer: LockFile, hold: Callable[..., Holder]
) -> None:
    holder = hold(hold_and_fork)
    file.leave(is_clean=False)
    holder.kill()
    assert holder.other.is_running()
    assert stays(lambda: not found_dead(observer), during=0.1)
    holder.other.kill()
    wait_until(lambda: found_dead(observer) == [file.cluster])


def test_program_that_a_task_started_does_not_count(
    file: LockFile, observer: LockFile, hold: Callable[..., Holder]
) -> None:
    holder = hold(hold_and_run_a_program)
    file.leave(is_clean=False)
    holder.kill()
    assert found_dead(observer) == [file.cluster]
    assert holder.other.is_running()


def test_cluster_that_stopped_cleanly_leaves_nothing(
    file: LockFile, observer: LockFile, folder: Path
) -> None:
    file.leave(is_clean=True)
    assert found_dead(observer) == []
    assert not list(folder.iterdir())


def test_missing_file_proves_nothing(file: LockFile, observer: LockFile) -> None:
    (file.folder / file.name).unlink()
    assert found_dead(observer) == []
    file.leave(is_clean=False)
    assert found_dead(observer) == []


def test_nobody_judges_himself_or_clusters_of_another_queue(
    file: LockFile, folder: Path
) -> None:
    file.leave(is_clean=False)
    assert found_dead(file) == []
    assert found_dead(new_file(folder, key="another")) == []


def test_cluster_that_began_again_under_its_id_is_alive(
    file: LockFile, observer: LockFile
) -> None:
    """Somebody has opened the old file, and gets its lock when the new one is there."""
    with observer._alone(file.name) as is_dead:  # noqa: SLF001 - who is between two steps
        assert not is_dead
    descriptor = observer._open(file.name)  # noqa: SLF001
    try:
        file.leave(is_clean=False)
        file.create()
        assert not lockfile.lock_alone(descriptor)
    finally:
        os.close(descriptor)
    assert found_dead(observer) == []


def test_rescue_that_fails_is_repeated(file: LockFile, observer: LockFile) -> None:
    file.leave(is_clean=False)

    def fail(_cluster: str) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        observer.bury_others(fail)
    assert found_dead(observer) == [file.cluster]


def test_one_of_many_observers_rescues(file: LockFile, folder: Path) -> None:
    file.leave(is_clean=False)
    one, other = new_file(folder), new_file(folder)
    seen: list[list[str]] = []
    one.bury_others(lambda _cluster: seen.append(found_dead(other)))
    assert seen == [[]]
    assert found_dead(other) == []


def test_who_can_not_hold_the_file_removes_it(
    file: LockFile, observer: LockFile
) -> None:
    """Else the cluster could be taken for dead while that process lives."""
    late: LockFile = pickle.loads(pickle.dumps(file))
    (file.folder / file.name).chmod(0o644)
    late.hold()
    file.leave(is_clean=False)
    assert found_dead(observer) == []
    assert not list(file.folder.iterdir())


def test_process_that_starts_when_its_cluster_is_dead_does_nothing(
    file: LockFile, observer: LockFile
) -> None:
    """Its sentinel died when it had just started it, and somebody has the proof."""
    file.leave(is_clean=False)
    assert found_dead(observer) == [file.cluster]
    with two_lines() as (ours, theirs):
        role = Idler(make_launch("worker", theirs, file))
        file.hold()
        ours.close()
        role.run()
    assert role.turns == 0


def test_housekeeper_frees_at_once_what_the_dead_held(
    file: LockFile, observer: LockFile, caplog: pytest.LogCaptureFixture
) -> None:
    dead, queue = Memory(f"q-{file.cluster}"), Memory(f"q-{file.cluster}")
    dead.enlist(file.cluster, 30)
    dead.enqueue("held", task_id="abc")
    assert dead.dequeue(1)
    with two_lines() as (_ours, theirs):
        launch = replace(make_launch("housekeeper", theirs, observer), broker=queue)
        housekeeper = Housekeeper(launch)
        housekeeper.setup()
        housekeeper.bury_others()
        assert queue.queue_size() == 0, "its cluster lives"
        file.leave(is_clean=False)
        housekeeper.bury_others()
        housekeeper.teardown()
    assert queue.queue_size() == 1
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(said) == 2
    assert said[0].startswith("rescued 1 tasks of dead cluster ")
    assert said[1].startswith("rescued task abc of cluster ")


def make_launch(kind: str, line: Line, file: LockFile) -> Launch:
    return Launch(
        kind=kind,
        generation=1,
        title="Process-1:1",
        identity=IDENTITY,
        options=Options(scheduler=False),
        board=make_board(),
        control=line.end,
        lock_file=file,
    )


class Idler(Role):
    kind = "worker"
    has_lifeline = False
    turns = 0

    def turn(self) -> None:
        self.turns += 1
        self.has_left = True


# -- where it is


IDENTITY = Identity("0" * 32, "shop-host-1", "host", 1, "2026-01-01T00:00:00")


def leaser(**facts: Any) -> Any:
    usual = {"supports_leases": True, "list_key": "shop", "database": None}
    return SimpleNamespace(**usual | facts)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def test_cluster_has_a_file_where_its_user_alone_may_look(runtime: Path) -> None:
    made = make_lock_file(IDENTITY, Options(), leaser())
    assert made is not None
    assert made.folder == runtime / "django-q"
    assert made.folder.stat().st_mode & 0o777 == 0o700
    [found] = made.folder.iterdir()
    assert found.name == f"{made.key}-{IDENTITY.id}"
    made.leave(is_clean=True)


@pytest.mark.parametrize("given", ["", "runtime", "/nowhere/at/all"])
def test_without_a_folder_of_the_session_it_is_among_the_temporary_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = lockfile.private_folder()
    assert folder == str(tmp_path / f"django-q-{os.geteuid()}")


def test_broker_that_keeps_no_lists_needs_no_file(runtime: Path) -> None:
    assert make_lock_file(IDENTITY, Options(), leaser(supports_leases=False)) is None
    assert not list(runtime.iterdir())


def test_host_that_does_not_tell_when_it_was_started_has_none(
    monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    monkeypatch.setattr(lockfile, "BOOT_ID", str(runtime / "missing"))
    assert make_lock_file(IDENTITY, Options(), leaser()) is None


@pytest.mark.usefixtures("runtime")
def test_files_are_told_apart_by_queue_broker_and_start_of_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = Options(redis="redis://user:secret@localhost:6379/0")
    make = partial(key_of, near)
    keys = [
        make(leaser()),
        make(leaser(list_key="other")),
        key_of(Options(redis="redis://localhost:6379/1"), leaser()),
        key_of(near, leaser(database="default")),
    ]
    monkeypatch.setattr("django_q.cluster.launching.boot_id", lambda: "another")
    keys.append(make(leaser()))
    assert len(set(keys)) == 5


def test_password_has_no_part_in_the_name() -> None:
    old, new = (
        Options(redis=f"redis://user:{word}@localhost/0", disque_auth=word)
        for word in ("old", "new")
    )
    assert key_of(old, leaser()) == key_of(new, leaser())


# -- tidying up


def test_files_that_nobody_asks_for_are_removed_after_a_day(
    file: LockFile, observer: LockFile, folder: Path
) -> None:
    dead = [new_file(folder, key="elsewhere"), new_file(folder, key="elsewhere")]
    for each in dead:
        each.create()
        each.leave(is_clean=False)
    age(dead[0], KEPT + 60)
    age(file, KEPT + 60)
    observer.sweep()
    left = {path.name for path in folder.iterdir()}
    assert left == {file.name, dead[1].name}


def test_cluster_keeps_its_own_file_young(file: LockFile) -> None:
    age(file, KEPT)
    before = (file.folder / file.name).stat().st_mtime
    file.sweep()
    assert (file.folder / file.name).stat().st_mtime > before + KEPT / 2


def age(file: LockFile, seconds: float) -> None:
    path = file.folder / file.name
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
