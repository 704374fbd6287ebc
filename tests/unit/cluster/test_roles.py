"""Who is told to stop leaves, whenever he hears it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from django_q.cluster import roles
from django_q.cluster.frames import Kind, control
from django_q.cluster.lines import Line, wait_for_news
from django_q.cluster.roles import Role
from django_q.cluster.working import Worker
from tests.unit.cluster.making import make_launch


class Idler(Role):
    """Has nothing to do."""

    kind = "idler"
    has_lifeline = False

    def turn(self) -> None:
        self.listen((), 60.0)
        self.has_left = self.is_stopping


@pytest.fixture
def ends() -> Iterator[tuple[Any, Line]]:
    ours, theirs = Line.pair()
    sentinel = Line(theirs)
    yield ours, sentinel
    sentinel.close()


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(lines: Any, timeout: float, *more: Any) -> set[int]:
        assert timeout == 0, "nothing more will be said"
        return wait_for_news(lines, timeout, *more)

    monkeypatch.setattr(roles, "wait_for_news", look)


def test_child_that_was_given_up_before_it_lived_does_nothing(
    ends: tuple[Any, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, sentinel = ends
    role = Idler(make_launch("idler", ours, generation=1))
    sentinel.close()
    monkeypatch.setattr(Idler, "setup", lambda _self: pytest.fail("it set up"))
    role.run()
    assert not role.has_left
    role.control.close()


def test_stop_before_the_first_turn_is_not_slept_through(
    ends: tuple[Any, Line],
) -> None:
    ours, sentinel = ends
    sentinel.send(control(Kind.STOP))
    role = Idler(make_launch("idler", ours, generation=1))
    role.run()
    assert role.has_left


def test_worker_that_heard_of_the_stop_amid_its_last_task_leaves_at_once(
    ends: tuple[Any, Line],
) -> None:
    ours, sentinel = ends
    worker = Worker(make_launch("worker", ours, generation=1))
    sentinel.send(control(Kind.STOP))
    worker.collect(0.0)
    worker.turn()
    assert worker.has_left
    worker.control.close()


FORK_OF_THE_ROOT = """
import signal
from django_q.cluster.roles import ignore_outside_signals
signal.signal(signal.SIGQUIT, lambda *_: None)
ignore_outside_signals()
signal.raise_signal(signal.SIGTERM)
print(signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL)
"""


def test_fork_of_the_root_leaves_its_handlers_behind() -> None:
    command = [sys.executable, "-c", FORK_OF_THE_ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
