"""How figures are worded on every screen: numbers, durations, moments, columns."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from itertools import accumulate
from typing import Final

from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _

from django_q.clock import localtime
from django_q.logs import clean

UNKNOWN: Final = "-"
"""Stands for a figure that is not measured."""

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7
"""Days: a weekday is enough to name one of them."""


def number(value: float | None, digits: int | None = None) -> str:
    """A figure, with the separators of the language: 1,204; with one digit, 1,204.0."""
    if value is None:
        return UNKNOWN
    return str(number_format(value, digits, force_grouping=True))


def duration(seconds: float | None) -> str:
    """How long: 0.4 s, 42 s, 12 min 04 s, 2 h 11 min, 4 d 02:11."""
    if seconds is None:
        return UNKNOWN
    if seconds < MINUTE:
        return _("%(seconds)s s") % {"seconds": _few_digits(max(seconds, 0))}
    whole = int(seconds)
    days, hours = whole // DAY, whole % DAY // HOUR
    minutes = whole % HOUR // MINUTE
    parts = {"d": days, "h": hours, "min": minutes, "s": whole % MINUTE}
    if days:
        return _("%(d)d d %(h)02d:%(min)02d") % parts
    if hours:
        return _("%(h)d h %(min)02d min") % parts
    return _("%(min)d min %(s)02d s") % parts


def clock(seconds: float) -> str:
    """How long, as hours, minutes and seconds: 98:11:00."""
    whole = max(int(seconds), 0)
    return f"{whole // HOUR}:{whole % HOUR // MINUTE:02d}:{whole % MINUTE:02d}"


def moment(when: datetime | None) -> str:
    """A time of today, 23:15; one of the coming days, Mon 02:30; or a date."""
    if when is None:
        return UNKNOWN
    local = localtime(when)
    days = (local.date() - localtime().date()).days
    if days == 0:
        return local.strftime("%H:%M")
    return date_format(local, "D H:i" if 0 < days < WEEK else "Y-m-d")


def fit(text: object, width: int, *, right: bool = False) -> str:
    """Text that takes exactly `width` columns of a terminal and has no control codes."""
    shown = cut(clean(text), width)
    gap = " " * (width - columns(shown))
    return gap + shown if right else shown + gap


def cut(text: str, width: int) -> str:
    """The text, shortened to at most `width` columns."""
    if columns(text) <= width:
        return text
    ends = accumulate(map(_columns_of, text))
    kept = sum(end < width for end in ends)
    return text[:kept] + "…" if width > 0 else ""


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _few_digits(seconds: float) -> str:
    """Two digits that mean something: 0.021, 0.4, 3.2, 42."""
    if seconds >= 10 or isinstance(seconds, int):
        return str(int(seconds))
    if seconds >= 1:
        return f"{int(seconds * 10) / 10:.1f}"
    return f"{round(seconds, 3):.2g}"
