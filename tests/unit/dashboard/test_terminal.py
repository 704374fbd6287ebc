"""What the reader of qmonitor sees and does; the drawing is in tests/acceptance."""

from __future__ import annotations

from io import StringIO

import pytest

from django_q.dashboard.frame import lay_out
from django_q.dashboard.sheet import Size, text_of
from django_q.dashboard.snapshot import Snapshot
from django_q.dashboard.terminal import View, is_terminal
from tests.unit.dashboard.figures import snapshot, stat

SCREEN = Size(80, 24)


class Figures:
    """What a feed tells, without the thread that collects it."""

    def __init__(self, latest: Snapshot | None) -> None:
        self.latest = latest
        self.problem: Exception | None = None
        self.silence = 0.0


def view_of(figures: Figures) -> View[Snapshot]:
    return View(figures, lay_out)


def texts(view: View[Snapshot], size: Size = SCREEN) -> list[str]:
    return [text_of(line) for line in view.lines(size)]


def first_id(view: View[Snapshot]) -> str:
    return texts(view)[4].split()[1]


@pytest.fixture
def many() -> View[Snapshot]:
    return view_of(Figures(snapshot(*(stat(number) for number in range(40)))))


@pytest.mark.parametrize("key", ["q", "Q"])
def test_q_leaves(key: str) -> None:
    view = view_of(Figures(None))
    view.press("x", SCREEN)
    assert not view.is_closed

    view.press(key, SCREEN)

    assert view.is_closed


def test_arrows_scroll(many: View[Snapshot]) -> None:
    assert first_id(many) == "abcd0000"
    for key in ("KEY_DOWN", "j", "KEY_UP", ""):
        many.press(key, SCREEN)
    assert first_id(many) == "abcd0001"

    many.press("KEY_PGDOWN", SCREEN)

    assert first_id(many) == "abcd000d"


def test_scrolling_ends_at_the_ends(many: View[Snapshot]) -> None:
    many.press("k", SCREEN)
    assert first_id(many) == "abcd0000"

    for _ in range(9):
        many.press("KEY_PGDOWN", SCREEN)

    assert texts(many)[18].split()[1] == "abcd0027"


def test_larger_screen_shows_the_last_clusters_without_a_gap(
    many: View[Snapshot],
) -> None:
    for _ in range(9):
        many.press("KEY_PGDOWN", SCREEN)

    tall = texts(many, Size(80, 60))

    assert tall[4].split()[1] == "abcd0000"


def test_before_the_first_answer() -> None:
    assert texts(view_of(Figures(None))) == [" Asking the broker …"]


def test_broker_that_never_answered() -> None:
    figures = Figures(None)
    figures.silence = 8.2
    figures.problem = ConnectionError("refused\x1b[2J" + "x" * 200)

    lines = texts(view_of(figures))

    assert lines[1] == " ✕ No answer from the broker for 8 s, trying again."
    assert lines[2].startswith(" refused\\x1b[2Jx")
    assert len(lines[2]) == 80


def test_broker_that_is_slow_gets_some_patience() -> None:
    figures = Figures(snapshot(stat()))
    figures.silence = 2.9
    assert texts(view_of(figures))[1].startswith(" Waiting")

    figures.silence = 3.1

    assert "No answer from the broker for 3 s" in texts(view_of(figures))[1]
    assert len(texts(view_of(figures))) == 24


def test_file_is_no_terminal() -> None:
    assert not is_terminal(StringIO())


def test_dumb_terminal_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dumb(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")

    assert not is_terminal(Dumb())
