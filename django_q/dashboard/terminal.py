"""The live screens: draws sheets on a terminal and listens to its keys."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from django.utils.translation import gettext as _

from django_q.brokers import Broker
from django_q.dashboard import frame
from django_q.dashboard.sheet import (
    Line,
    Sheet,
    Size,
    Span,
    clip,
    compose,
    encodable,
    room_for_rows,
    text_of,
)
from django_q.dashboard.snapshot import Feed, take_snapshot
from django_q.dashboard.summary import Writable
from django_q.dashboard.wording import duration
from django_q.logs import clean
from django_q.status import Stat

if TYPE_CHECKING:
    from blessed import Terminal

TURN: Final = 0.2
"""Seconds between two looks at the size of the terminal and at new figures."""

PATIENCE: Final = 3.0
"""Seconds without an answer after which the screen says so."""

COLOURS: Final = {
    "title": "bold",
    "head": "bold",
    "quiet": "bright_black",
    "ok": "green",
    "info": "cyan",
    "warn": "yellow",
    "bad": "red",
}
"""Only the base set, so that the terminal's own theme decides how they look."""

STEPS: Final = {"KEY_UP": -1, "k": -1, "KEY_DOWN": 1, "j": 1}
PAGES: Final = {"KEY_PGUP": -1, "KEY_PGDOWN": 1}


class Output(Writable, Protocol):
    """Where a snapshot is printed; it may be a terminal."""

    def isatty(self) -> bool: ...


class HasClusters(Protocol):
    """A snapshot of whatever kind."""

    @property
    def clusters(self) -> tuple[Stat, ...]: ...


Taken = TypeVar("Taken", bound=HasClusters)


class Programme(NamedTuple, Generic[Taken]):
    """What one command shows."""

    command: str
    take: Callable[[Broker | None], Taken]
    lay_out: Callable[[Taken, Size], Sheet]


QMONITOR: Final = Programme("qmonitor", take_snapshot, frame.lay_out)


def monitor(
    run_once: bool = False,
    broker: Broker | None = None,
    *,
    stream: Output | None = None,
    colour: bool = True,
) -> list[Stat] | None:
    """Show the clusters until the reader leaves.

    With `run_once`, or where the output is not a terminal, print one plain snapshot
    and give its clusters; that raises where the broker can't be reached.
    """
    return show(QMONITOR, broker, run_once=run_once, stream=stream, colour=colour)


def show(
    programme: Programme[Taken],
    broker: Broker | None,
    *,
    run_once: bool,
    stream: Output | None,
    colour: bool,
) -> list[Stat] | None:
    """Show a programme live, or once where that is wanted or all that can be done."""
    out: Output = stream or sys.stdout
    if run_once or not is_terminal(out):
        return print_snapshot(programme, broker, out)
    blessed = _import_blessed()
    if blessed is None:
        note = _("%(command)s is live only with the package 'blessed'.")
        note %= {"command": programme.command}
        sys.stderr.write(note + "\nRun: python -m pip install blessed\n")
        return print_snapshot(programme, broker, out)
    watch(_terminal(blessed), programme, broker, colour=colour)
    return None


def is_terminal(stream: Output) -> bool:
    """Whether a person sits in front of it, with keys to press."""
    if os.environ.get("TERM", "dumb") == "dumb" or sys.__stdin__ is None:
        return False
    return stream.isatty() and sys.__stdin__.isatty()


def print_snapshot(
    programme: Programme[Taken], broker: Broker | None, stream: Output
) -> list[Stat]:
    """Print one snapshot without any control codes."""
    snapshot = programme.take(broker)
    size = Size(shutil.get_terminal_size().columns)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    lines = compose(programme.lay_out(snapshot, size), size)
    stream.write("".join(encodable(text_of(line), encoding) + "\n" for line in lines))
    return list(snapshot.clusters)


def watch(
    term: Terminal, programme: Programme[Taken], broker: Broker | None, *, colour: bool
) -> None:
    """Draw, and answer to keys, until the reader leaves or the process is told to."""
    with (
        suppress(KeyboardInterrupt),
        Feed(lambda: programme.take(broker)) as feed,
        Screen(term, colour=colour) as screen,
    ):
        view = View(feed, programme.lay_out)
        while not view.is_closed:
            screen.draw(view.lines(screen.size))
            view.press(screen.wait_for_key(), screen.size)


Shown = TypeVar("Shown")


class Figures(Protocol[Shown]):
    """What a view needs to know of a feed."""

    latest: Shown | None
    problem: Exception | None

    @property
    def silence(self) -> float: ...


class View(Generic[Shown]):
    """What the reader looks at: moves with the keys."""

    def __init__(
        self, feed: Figures[Shown], lay_out: Callable[[Shown, Size], Sheet]
    ) -> None:
        self.is_closed = False
        self.first = 0
        self._feed = feed
        self._lay_out = lay_out

    def lines(self, size: Size) -> list[Line]:
        """The present screen."""
        sheet = self._sheet(size)
        if sheet is None:
            asking = [Span(" " + _("Asking the broker …"))]
            # There is room: each part of what is wrong gets a line of its own.
            parts: list[Line] = [[span] for span in self._trouble()]
            return clip([asking, *parts], size.width)
        self._clamp(sheet, size)
        lines = compose(sheet, size, first=self.first)
        trouble = self._trouble()
        if trouble:
            lines[1:2] = clip([trouble], size.width)
        return lines

    def press(self, key: str, size: Size) -> None:
        """Answer to a key, which may be none."""
        if key in {"q", "Q"}:
            self.is_closed = True
        page = max((size.height or 0) // 2, 1)
        self.first += STEPS.get(key, 0) + PAGES.get(key, 0) * page
        sheet = self._sheet(size)
        if sheet is not None:
            self._clamp(sheet, size)

    def _sheet(self, size: Size) -> Sheet | None:
        snapshot = self._feed.latest
        return None if snapshot is None else self._lay_out(snapshot, size)

    def _clamp(self, sheet: Sheet, size: Size) -> None:
        hidden = len(sheet.rows) - room_for_rows(sheet, size)
        self.first = max(0, min(self.first, hidden))

    def _trouble(self) -> list[Span]:
        """Instead of the figures' strip: that they are old, and why."""
        silence, problem = self._feed.silence, self._feed.problem
        if problem is None and silence < PATIENCE:
            return []
        message = _("No answer from the broker for %(time)s, trying again.")
        said = " ✕ " + message % {"time": duration(int(silence))}
        reason = f" {clean(problem)}" if problem else ""
        return [Span(said, "bad"), Span(reason)]


class Screen:
    """The terminal while it is ours. A context manager that always gives it back."""

    def __init__(self, term: Terminal, *, colour: bool) -> None:
        self._term = term
        self._has_colour = colour and not os.environ.get("NO_COLOR")
        self._held = ExitStack()
        self._shown: tuple[Size, list[Line]] | None = None

    def __enter__(self) -> Screen:
        self._enter()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._held.close()

    @property
    def size(self) -> Size:
        # A line without a size of its own, like a serial one, says 0.
        return Size(self._term.width or 80, self._term.height or 24)

    def wait_for_key(self) -> str:
        """The key that was pressed, by name or as typed; empty if there was none."""
        key = self._term.inkey(timeout=TURN)
        return key.name or str(key)

    def draw(self, lines: list[Line]) -> None:
        """Show these lines, in one write, if they are not what is shown already."""
        size = self.size
        if self._shown == (size, lines):
            return
        whole = self._term.clear if self._shown is None else ""
        painted = (
            self._term.move_xy(0, y) + self._term.clear_eol + self._paint(line)
            for y, line in enumerate(lines[: size.height])
        )
        self._write(whole + "".join(painted) + self._term.clear_eos)
        self._shown = (size, lines)

    def _paint(self, line: Line) -> str:
        return "".join(map(self._paint_span, line))

    def _paint_span(self, span: Span) -> str:
        text = encodable(span.text, self._encoding)
        if not span.role or not self._has_colour:
            return text
        style = getattr(self._term, COLOURS[span.role])
        return str(style(text))

    @property
    def _encoding(self) -> str:
        return getattr(self._term.stream, "encoding", None) or "utf-8"

    def _enter(self) -> None:
        self._shown = None
        with ExitStack() as stack:
            stack.enter_context(_signals({signal.SIGTERM: _leave, **self._job_control}))
            stack.enter_context(self._term.fullscreen())
            stack.enter_context(self._term.hidden_cursor())
            stack.enter_context(self._term.cbreak())
            self._held = stack.pop_all()

    @property
    def _job_control(self) -> dict[signal.Signals, Any]:
        return {signal.SIGTSTP: self._suspend} if hasattr(signal, "SIGTSTP") else {}

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets its own screen, and `fg` brings ours back."""
        self._held.close()
        os.kill(os.getpid(), signal.SIGTSTP)
        self._enter()

    def _write(self, text: str) -> None:
        self._term.stream.write(text)
        self._term.stream.flush()


def _leave(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM: leave by way of the context managers, so the terminal is given back."""
    sys.exit(0)


@contextmanager
def _signals(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    """Answer to signals meanwhile; only the main thread of a process can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, do) for number, do in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _import_blessed() -> Any:
    try:
        import blessed  # noqa: PLC0415 - optional, and never needed at start-up
    except ImportError:
        return None
    return blessed


def _terminal(blessed: Any) -> Terminal:
    """A terminal that can be drawn on even where NO_COLOR is set.

    blessed takes NO_COLOR as a wish for no control codes at all, and could not even
    move the cursor then; the wish is about colours, and `Screen` grants it.
    """
    hidden = os.environ.pop("NO_COLOR", None)
    try:
        return blessed.Terminal()  # type: ignore[no-any-return]
    finally:
        if hidden is not None:
            os.environ["NO_COLOR"] = hidden


__all__ = ["Output", "Programme", "is_terminal", "monitor", "print_snapshot", "show"]
