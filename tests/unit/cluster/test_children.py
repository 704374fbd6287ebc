"""Children: started, watched, killed with what they forked, and reaped."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from django_q.cluster import children
from django_q.cluster.children import (
    LENT,
    PATHS,
    Child,
    Spawner,
    choose_method,
    import_early,
    open_handle,
)
from django_q.cluster.roles import Launch
from django_q.options import Options
from tests.unit.cluster.making import CONTEXT, Nursery, make_launch
from tests.unit.cluster.scribes import fork_and_sleep
from tests.waiting import wait_until


class FakeExit:
    """A process of which only the exit code matters."""

    def __init__(self, exitcode: int | None) -> None:
        self.exitcode = exitcode


def is_readable(descriptor: int, timeout: float = 0.0) -> bool:
    return bool(select.select([descriptor], [], [], timeout)[0])


# -- how processes start


def test_child_is_started_again_when_the_fork_server_dies_amid_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    launches: list[Launch] = []

    def start(_self: Spawner, launch: Launch) -> multiprocessing.Process:
        launches.append(launch)
        if len(launches) == 1:
            raise EOFError
        return multiprocessing.Process()

    monkeypatch.setattr(Spawner, "_start", start)
    monkeypatch.setattr("django_q.cluster.children.open_handle", lambda _process: 0)
    child = Spawner(make_launch("", None), "spawn").spawn("pusher", ())
    assert child.generation == 2
    first, second = (launch.control for launch in launches)
    assert first is not second
    child.line.close()


@pytest.mark.parametrize(
    ("method", "kind", "dies"),
    [
        ("fork", "pusher", True),
        ("spawn", "housekeeper", True),
        # By itself, because it has to end what its task has started.
        ("fork", "worker", False),
        ("fork", "sentinel", False),
    ],
)
def test_who_dies_in_the_moment_in_which_the_parent_does(
    monkeypatch: pytest.MonkeyPatch, method: str, kind: str, *, dies: bool
) -> None:
    launches: list[Launch] = []

    def start(_self: Spawner, launch: Launch) -> multiprocessing.Process:
        launches.append(launch)
        return multiprocessing.Process()

    monkeypatch.setattr(Spawner, "_start", start)
    monkeypatch.setattr("django_q.cluster.children.open_handle", lambda _process: 0)
    child = Spawner(make_launch("", None), method).spawn(kind, ())
    child.line.close()
    assert [launch.dies_with_parent for launch in launches] == [dies]


def test_setting_decides() -> None:
    for method in ("fork", "spawn", "forkserver"):
        assert choose_method(Options(start_method=method)) == method


@pytest.mark.parametrize(
    ("platform", "method"), [("linux", "forkserver"), ("darwin", "spawn")]
)
def test_what_is_best_on_each_system(
    monkeypatch: pytest.MonkeyPatch, platform: str, method: str
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    monkeypatch.setattr(sys, "platform", platform)
    assert choose_method(Options()) == method


def test_program_that_is_nothing_but_a_cluster_is_forked_unless_it_has_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(children, "is_alone", lambda: True)
    assert choose_method(Options(), whole=True) == "fork"
    assert choose_method(Options(start_method="spawn"), whole=True) == "spawn"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert choose_method(Options(), whole=True) == "spawn"
    monkeypatch.undo()
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    monkeypatch.setattr(sys, "platform", "linux")
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    assert choose_method(Options(), whole=True) == "forkserver"
    over.set()
    thread.join()


@pytest.mark.parametrize(
    ("program", "method"),
    [("execute()", "fork"), ("if __name__ == '__main__': execute()", "forkserver")],
)
def test_program_without_a_guard_is_imported_by_no_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, method: str
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    monkeypatch.setattr(sys, "platform", "linux")
    file = tmp_path / "manage.py"
    file.write_text(program)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(file), raising=False)
    assert choose_method(Options()) == method


def test_without_a_settings_module_there_is_nothing_to_load_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    assert choose_method(Options()) == "fork"


@pytest.mark.parametrize("path", [*PATHS.values(), *(p for _, p in LENT.values())])
def test_roles_are_where_their_paths_say(path: str) -> None:
    name, _, attribute = path.rpartition(".")
    assert hasattr(__import__(name, fromlist=[attribute]), attribute)


# -- how they end


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "ended with exit code 0"),
        (7, "ended with exit code 7"),
        (None, "ended with exit code None"),
        (-9, "died by signal 9 (SIGKILL), perhaps for want of memory"),
        (-15, "died by signal 15 (SIGTERM)"),
        (-99, "died by signal 99"),
    ],
)
def test_end_in_words(nursery: Nursery, code: int | None, text: str) -> None:
    child = nursery.make()
    process, child.process = child.process, FakeExit(code)  # type: ignore[assignment]
    assert child.how_it_ended() == text
    child.process = process


def test_handle_tells_the_end(nursery: Nursery) -> None:
    child = nursery.make(alive=True)
    child.handle = open_handle(child.process)
    assert not is_readable(child.handle)
    child.kill()
    assert is_readable(child.handle, 10.0)
    child.reap()
    assert child.how_it_ended() == "died by signal 9 (SIGKILL)"


@pytest.fixture
def family(nursery: Nursery) -> Iterator[tuple[Child, psutil.Process]]:
    """A child, and the process that it forked into its group."""
    hearing, telling = CONTEXT.Pipe(duplex=False)
    child = nursery.make()
    child.process.close()
    child.process = CONTEXT.Process(target=fork_and_sleep, args=(telling,))
    child.process.start()
    telling.close()
    other = psutil.Process(hearing.recv())
    hearing.close()
    yield child, other
    with suppress(psutil.NoSuchProcess):
        other.kill()


def test_end_is_told_while_a_process_that_it_forked_lives(
    family: tuple[Child, psutil.Process],
) -> None:
    child, other = family
    child.handle = open_handle(child.process)
    child.process.kill()
    assert is_readable(child.handle, 10.0)
    assert other.is_running()
    child.reap()


def test_kill_takes_along_what_it_forked(
    family: tuple[Child, psutil.Process],
) -> None:
    child, other = family
    child.kill()
    child.process.join()
    wait_until(lambda: not other.is_running() or other.status() == "zombie")


def test_kill_of_the_dead_is_harmless(nursery: Nursery) -> None:
    child = nursery.make()
    child.kill()
    assert child.pid == 0


def test_child_of_a_dead_fork_server_is_ended_before_it_is_replaced(
    nursery: Nursery,
) -> None:
    child = nursery.make()
    child.process.close()
    context = multiprocessing.get_context("forkserver")
    child.process = context.Process(target=time.sleep, args=(60,))
    child.process.start()
    child.handle = open_handle(child.process)
    process = psutil.Process(child.pid)
    os.kill(process.ppid(), signal.SIGKILL)
    wait_until(lambda: not child.process.is_alive())
    assert process.is_running()
    child.reap()
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_reaping_lets_go_of_everything(nursery: Nursery) -> None:
    child = nursery.make(alive=True)
    child.handle = open_handle(child.process)
    child.kill()
    child.reap()
    assert child.line.closed
    assert not child.process.is_alive()
    if child.handle != child.process.sentinel:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(child.handle)
    assert nursery.far_end[child.generation].receive() == []
    assert nursery.far_end[child.generation].closed


def test_children_are_told_apart_by_identity(nursery: Nursery) -> None:
    one, other = nursery.make(), nursery.make()
    assert one != other
    assert one in [one, other]


class TestImportingEarly:
    def test_what_fails_is_told_and_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "leaves_early.py").write_text("raise SystemExit(3)")
        (tmp_path / "fine_early.py").write_text("")
        import_early(["leaves_early", "not_there_early", "fine_early"])
        first, second = caplog.messages
        assert first == "preload: leaves_early can't be imported: SystemExit: 3"
        assert "not_there_early can't be imported: ModuleNotFoundError" in second
        assert sys.modules.pop("fine_early", None) is not None

    def test_thread_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        source = "import threading\nover = threading.Event()\n"
        source += "thread = threading.Thread(target=over.wait)\nthread.start()"
        (tmp_path / "threaded_early.py").write_text(source)
        before = threading.active_count()
        alone = staticmethod(lambda: threading.active_count() == before)
        monkeypatch.setattr(children, "is_alone", alone)
        import_early(["threaded_early"])
        module = sys.modules.pop("threaded_early")
        module.over.set()
        module.thread.join()
        assert "threaded_early starts a thread" in caplog.text
