"""Farewell: quiet, drain, record, leave."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest

from django_q.cluster import farewell as module
from django_q.cluster.board import State, Word
from django_q.cluster.children import Child
from django_q.cluster.farewell import CUT_GRACE, LEAVE_GRACE, RECORD_GRACE, Farewell
from django_q.cluster.frames import Frame, Kind
from tests.unit.cluster.making import Nursery
from tests.unit.cluster.test_pool import Slots

SIGNS = {"status": "Stopped"}
SINGLES = ("monitor", "pusher", "housekeeper")


class Scene:
    """A cluster with two workers that is about to stop, and its clock."""

    def __init__(self, nursery: Nursery, grace: float | None) -> None:
        self.nursery = nursery
        self.time = 1000.0
        self.singles = {kind: nursery.make(kind) for kind in SINGLES}
        self.pool = Slots(nursery)
        self.pool.fill()
        self.farewell = Farewell(grace)

    def advance(self) -> bool:
        return self.farewell.advance(self.singles, self.pool, SIGNS)

    def heard(self) -> dict[str, list[Kind]]:
        """What each has been told since."""
        told = {k: self.nursery.heard(c) for k, c in self.singles.items()}
        told["workers"] = [
            frame for child in self.pool.started for frame in self.nursery.heard(child)
        ]
        return {who: [f.kind for f in frames] for who, frames in told.items() if frames}

    def workers_leave(self) -> None:
        for child in self.pool.dead():
            self.pool.death_of(child)

    def bury(self) -> None:
        for death in list(self.pool.unburied):
            self.pool.bury(death.generation)

    def begin(self) -> None:
        self.farewell.begin(cut=False)
        self.advance()

    def employ_clerk(self) -> None:
        """The workers have left, and how a task ended is still to be recorded."""
        self.begin()
        self.workers_leave()
        self.bury()
        self.pool.board[Word.CONCLUDING] = 1
        self.pool.employ_clerk()


@pytest.fixture
def make_scene(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Scene]:
    def make_scene(grace: float | None = None) -> Scene:
        scene = Scene(nursery, grace)
        monkeypatch.setattr(module, "monotonic", lambda: scene.time)
        return scene

    return make_scene


def test_before_a_stop_nothing_happens(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene()
    assert not scene.farewell.has_begun
    assert scene.farewell.rest == inf
    assert not scene.advance()
    assert scene.heard() == {}
    assert not any(map(scene.farewell.needs, (*SINGLES, "worker")))
    assert not any(map(scene.farewell.expects, (*SINGLES, "worker")))


def test_quiet_stops_all_but_the_monitor(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene()
    scene.begin()
    assert scene.farewell.has_begun
    assert scene.heard() == {
        "pusher": [Kind.STOP],
        "housekeeper": [Kind.STOP],
        "workers": [Kind.STOP, Kind.STOP],
    }
    scene.advance()
    assert scene.heard() == {}


def test_while_it_drains_pusher_and_monitor_are_still_needed(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene()
    scene.begin()
    assert scene.farewell.needs("monitor")
    assert scene.farewell.needs("pusher")
    assert not scene.farewell.needs("housekeeper")
    assert not scene.farewell.expects("monitor")


def test_all_four_words_in_their_order(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene()
    scene.begin()
    scene.heard()
    scene.workers_leave()
    assert not scene.advance()
    assert scene.heard() == {}
    scene.bury()
    scene.advance()
    assert scene.heard() == {"monitor": [Kind.STOP]}
    assert scene.farewell.expects("monitor")
    assert not scene.farewell.expects("pusher")
    del scene.singles["monitor"]
    assert not scene.advance()
    assert scene.heard() == {"pusher": [Kind.RETIRE], "housekeeper": [Kind.VITALS]}
    assert all(map(scene.farewell.expects, SINGLES))
    assert not any(map(scene.farewell.needs, SINGLES))
    scene.singles.clear()
    assert scene.advance()
    assert scene.farewell.interrupted == 0


def test_last_vital_signs_are_told(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene()
    housekeeper = scene.singles["housekeeper"]
    scene.begin()
    scene.pool.dead()
    scene.advance()
    del scene.singles["monitor"]
    scene.advance()
    assert scene.nursery.heard(housekeeper)[-1].facts == SIGNS


def test_without_a_grace_tasks_may_take_for_ever(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene(None)
    scene.begin()
    scene.time += 1e6
    scene.advance()
    assert scene.pool.started[0].cause == "lost"
    assert scene.heard()["workers"] == [Kind.STOP, Kind.STOP]


def test_when_the_grace_is_over_all_are_condemned(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene(30.0)
    scene.begin()
    scene.pool.show(scene.pool.started[0], State.RUNNING)
    scene.time += 29.9
    scene.advance()
    assert scene.farewell.interrupted == 0
    scene.time += 0.1
    scene.advance()
    assert scene.farewell.interrupted == 1
    assert [child.cause for child in scene.pool.started] == ["stopped", "stopped"]
    scene.advance()
    assert scene.farewell.interrupted == 1


def test_clerk_records_what_was_killed_and_leaves_last(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene(30.0)
    scene.employ_clerk()
    clerk = scene.pool.clerk
    scene.heard()
    scene.time += RECORD_GRACE - 0.1
    scene.advance()
    assert scene.heard() == {}
    assert clerk is not None
    assert clerk.cause == "lost"
    scene.pool.board[Word.CONCLUDING] = 0
    scene.advance()
    scene.advance()
    assert scene.heard() == {"workers": [Kind.STOP]}
    scene.workers_leave()
    scene.bury()
    scene.advance()
    assert scene.heard() == {"monitor": [Kind.STOP]}
    assert scene.farewell.interrupted == 0


def test_clerk_that_was_told_to_leave_must_do_so(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene(1.0)
    scene.employ_clerk()
    scene.time += 1
    scene.advance()
    scene.pool.board[Word.CONCLUDING] = 0
    scene.advance()
    scene.time += RECORD_GRACE
    scene.advance()
    assert scene.pool.started[-1].cause == "stopped"


def test_clerk_is_not_awaited_for_ever(
    make_scene: Callable[..., Scene], nursery: Nursery
) -> None:
    scene = make_scene()
    scene.begin()
    scene.workers_leave()
    scene.bury()
    scene.pool.board[Word.CONCLUDING] = 1
    scene.pool.alive = True
    scene.pool.employ_clerk()
    scene.heard()
    scene.time += RECORD_GRACE
    scene.advance()
    assert scene.heard() == {"monitor": [Kind.STOP]}
    scene.pool.started[-1].process.join(5)
    assert not scene.pool.started[-1].process.is_alive()


@pytest.mark.parametrize(
    ("grace", "left"), [(None, CUT_GRACE), (60.0, 5.0), (2.0, 2.0)]
)
def test_second_signal_cuts_the_grace(
    make_scene: Callable[..., Scene], grace: float | None, left: float
) -> None:
    scene = make_scene(grace)
    scene.begin()
    scene.farewell.begin(cut=True)
    scene.time += left - 0.1
    scene.advance()
    assert scene.pool.started[0].cause == "lost"
    scene.time += 0.1
    scene.advance()
    assert scene.pool.started[0].cause == "stopped"


def test_further_signals_do_not_begin_anew(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene(30.0)
    scene.begin()
    scene.time += 20
    scene.farewell.begin(cut=False)
    scene.time += 10
    scene.advance()
    assert scene.pool.started[0].cause == "stopped"


def test_burials_are_not_awaited_for_ever(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene()
    scene.begin()
    scene.workers_leave()
    scene.time += RECORD_GRACE - 0.1
    scene.pool.workers.append(scene.pool.started[0])
    scene.advance()
    scene.pool.workers.clear()
    scene.time += RECORD_GRACE
    scene.heard()
    scene.advance()
    assert scene.heard() == {"monitor": [Kind.STOP]}


def test_monitor_that_does_not_end_is_killed(
    make_scene: Callable[..., Scene],
    nursery: Nursery,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = make_scene()
    monitor = scene.singles["monitor"] = nursery.make("monitor", alive=True)
    scene.begin()
    scene.pool.dead()
    scene.advance()
    scene.advance()
    assert monitor.process.is_alive()
    scene.time += RECORD_GRACE
    scene.advance()
    monitor.process.join()
    told = "the monitor did not end in time; unsaved tasks run again"
    assert told in caplog.messages


def test_those_who_do_not_leave_are_killed(
    make_scene: Callable[..., Scene], nursery: Nursery
) -> None:
    scene = make_scene()
    pusher = scene.singles["pusher"] = nursery.make("pusher", alive=True)
    scene.begin()
    scene.pool.dead()
    del scene.singles["monitor"]
    scene.advance()
    assert not scene.advance()
    assert pusher.process.is_alive()
    scene.time += LEAVE_GRACE
    assert not scene.advance()
    pusher.process.join()


def test_cluster_without_a_task_does_not_wait_for_who_is_not_there_yet(
    make_scene: Callable[..., Scene],
) -> None:
    scene = make_scene()
    living = {k: scene.nursery.make(k, alive=True) for k in ("monitor", "housekeeper")}
    scene.singles |= living
    living["housekeeper"].is_ready = True
    scene.farewell.begin(cut=False, has_worked=False)
    assert not scene.advance()
    living["monitor"].process.join(5)
    assert not living["monitor"].process.is_alive()
    assert living["housekeeper"].process.is_alive()
    assert scene.heard()["housekeeper"] == [Kind.STOP, Kind.VITALS]
    assert not any(map(scene.farewell.needs, SINGLES))
    assert all(map(scene.farewell.expects, (*SINGLES, "worker")))
    scene.time += LEAVE_GRACE
    assert not scene.advance()
    living["housekeeper"].process.join(5)
    assert not living["housekeeper"].process.is_alive()
    scene.singles.clear()
    assert not scene.advance()
    scene.workers_leave()
    assert scene.advance()
    assert scene.farewell.interrupted == 0


def test_stop_while_nobody_is_there_yet(nursery: Nursery) -> None:
    farewell, pool = Farewell(None), Slots(nursery)
    nobody: dict[str, Child] = {}
    farewell.begin(cut=False)
    steps = [farewell.advance(nobody, pool, SIGNS) for _ in range(4)]
    assert steps[-1]


def test_frames_are_whole(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene()
    pusher = scene.singles["pusher"]
    scene.begin()
    assert scene.nursery.heard(pusher) == [Frame(Kind.STOP)]
