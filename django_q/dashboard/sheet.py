"""What all live screens are made of: spans, columns, and rows that scroll between edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, Generic, NamedTuple, TypeVar

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_q import __version__
from django_q.clock import localtime
from django_q.dashboard.wording import columns, cut, fit
from django_q.logs import clean

Row = TypeVar("Row")

HOST_AT_LEAST: Final = 8

ASCII: Final = str.maketrans(
    {"─": "-", "…": ".", "▲": "!", "✕": "x", "↑": "^", "↓": "v"}
)
"""What stands for our marks on a terminal that can't show them."""


class Span(NamedTuple):
    """A piece of a line; the role chooses its colour."""

    text: str
    role: str = ""


Line = Sequence[Span]


class Size(NamedTuple):
    """Columns and lines of a terminal; height None: as many lines as it takes."""

    width: int
    height: int | None = None


class Sheet(NamedTuple):
    """All that there is to show: the rows scroll between what is above and below."""

    top: list[Line]
    rows: list[Line]
    bottom: list[Line]


class Column(NamedTuple, Generic[Row]):
    """A column of a table."""

    caption: object
    width: int
    show: Callable[[Row], str]
    role: Callable[[Row], str] = lambda _row: ""
    right: bool = True

    def head(self) -> Span:
        return Span(fit(self.caption, self.width, right=self.right), "head")

    def cell(self, row: Row) -> Span:
        shown = fit(self.show(row), self.width, right=self.right)
        return Span(shown, self.role(row))


class Table(NamedTuple, Generic[Row]):
    """The host, which takes what is left, and columns, with so much space between."""

    host: Callable[[Row], str]
    columns: Sequence[Column[Row]]
    gap: int = 2

    def captions(self, width: int) -> Line:
        return self._spaced(column.head() for column in self._chosen(width))

    def row(self, row: Row, width: int) -> Line:
        return self._spaced(column.cell(row) for column in self._chosen(width))

    def _chosen(self, width: int) -> list[Column[Row]]:
        """Columns that have no room go, from the right."""
        chosen = list(self.columns)
        while chosen and self._left(chosen, width) < HOST_AT_LEAST:
            chosen.pop()
        left = max(self._left(chosen, width), 1)
        return [Column(gettext_lazy("Host"), left, self.host, right=False), *chosen]

    def _left(self, others: Sequence[Column[Row]], width: int) -> int:
        """What the others leave to the host; there is a margin on the left."""
        taken = sum(column.width + self.gap for column in others)
        return width - self.gap - taken

    def _spaced(self, cells: Iterable[Span]) -> Line:
        spans = [Span(" ")]
        for cell in cells:
            spans += [cell, Span(" " * self.gap)]
        return spans[:-1]


def compose(sheet: Sheet, size: Size, *, first: int = 0) -> list[Line]:
    """All lines of a screen, none wider than it, from row number `first` on."""
    if size.height is None:
        return clip([*sheet.top, *sheet.rows, *sheet.bottom], size.width)
    room = room_for_rows(sheet, size)
    shown = sheet.rows[first : first + room]
    empty: list[Line] = [[]] * (room - len(shown))
    keys = _keys(first, len(shown), len(sheet.rows))
    lines = [*sheet.top, *shown, *empty, *sheet.bottom, keys]
    return clip(lines[: size.height], size.width)


def room_for_rows(sheet: Sheet, size: Size) -> int:
    """How many rows a screen shows at once."""
    return max((size.height or 0) - len(sheet.top) - len(sheet.bottom) - 1, 0)


def clip(lines: Sequence[Line], width: int) -> list[Line]:
    """The lines, cut so that none is wider than the screen: nothing ever wraps."""
    return [_clip(line, width) for line in lines]


def text_of(line: Line) -> str:
    """The line without its colours."""
    return "".join(span.text for span in line).rstrip()


def encodable(text: str, encoding: str) -> str:
    """The text, with our marks replaced where the encoding lacks them."""
    if encoding.lower().replace("-", "").startswith("utf"):
        return text
    plain = text.translate(ASCII)
    return plain.encode(encoding, errors="replace").decode(encoding)


def header(name: str, at: datetime, width: int) -> Line:
    """The release, the site and the time."""
    title, site = f" django-q {__version__}", f"   {clean(name)}"
    time = localtime(at).strftime("%H:%M:%S ")
    gap = width - columns(title) - columns(site) - columns(time)
    return [Span(title, "title"), Span(site), Span(" " * gap), Span(time, "quiet")]


def rule(width: int) -> Line:
    """A line across the screen."""
    return [Span("─" * width, "quiet")]


def quiet(*texts: str) -> list[Line]:
    """Lines that explain."""
    return [[Span(" " + text, "quiet")] for text in texts]


def nobody() -> list[Line]:
    """What is shown where no cluster runs."""
    return [
        [],
        [Span(" " + _("No clusters are running."), "warn")],
        [Span(" " + _("Start one in another terminal: python manage.py qcluster"))],
    ]


def _keys(first: int, shown: int, rows: int) -> Line:
    spans = [Span(" q", "title"), Span(" " + _("quit"))]
    if shown < rows:
        window = {"first": first + 1, "last": first + shown, "all": rows}
        spans += [Span("   ↑↓", "title"), Span(" " + _("scroll"))]
        spans += [Span("   " + _("%(first)d-%(last)d of %(all)d") % window)]
    return spans


def _clip(line: Line, width: int) -> Line:
    kept: list[Span] = []
    left = width
    for span in line:
        text = cut(span.text, left)
        left -= columns(text)
        kept.append(span._replace(text=text))
    return kept
