"""Cron: expressions, and the times that they name on clocks that nobody changes.

Rows hold what the releases before ours took, and mean it as they did: cronsim reads
most of that, and the rest is written in its words here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cronsim import CronSim, CronSimError
from django.utils.translation import gettext as _

from django_q.exceptions import NothingFollows

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

FIELDS: Final = {
    "minute": range(60),
    "hour": range(24),
    "day-of-month": range(1, 32),
    "month": range(1, 13),
    "day-of-week": range(8),
    "second": range(60),
    "year": range(1970, 2100),
}
"""In the order of a row; it has the first five, six, or all."""

MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
WEEKDAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
NUMBERS: Final = {
    "month": {name: number for number, name in enumerate(MONTHS, start=1)},
    "day-of-week": {name: number for number, name in enumerate(WEEKDAYS)},
}

RANGE: Final = re.compile(r"(\w+)-(\w+)(?:/(\d+))?")
YEARS: Final = re.compile(r"(\*|\d{4})(?:-(\d{4}))?(?:/([1-9]\d*))?")

ANY_DAY: Final = datetime(2000, 1, 1)


class Expression(NamedTuple):
    """An expression as cronsim takes it, and the years to which it is bound."""

    text: str
    years: Collection[int] | None


def matches(cron: str, after: datetime) -> Iterator[datetime]:
    """All matches after a naive time.

    Raises ValueError for what is no expression, and NothingFollows after the last one.
    """
    expression = read(cron)
    if expression.years is None:
        yield from _simulate(expression, after)
    for year in sorted(year for year in expression.years or () if year >= after.year):
        eve = datetime(year, 1, 1) - timedelta(seconds=1)
        for match in _simulate(expression, max(after, eve)):
            if match.year > year:
                break
            yield match
    message = _("%(cron)r names no date that ever comes.")
    raise NothingFollows(message % {"cron": cron})


def check_cron(cron: str) -> None:
    """Raise ValueError, with what is wrong, for text that is no cron expression."""
    next(matches(cron, ANY_DAY))


def explain(cron: str) -> str:
    """A cron expression in English: "At 02:30 every day"."""
    check_cron(cron)
    expression = read(cron)
    text = _simulate(expression, ANY_DAY).explain()
    return text if expression.years is None else f"{text} of {cron.split()[6]}"


def runs_every_hour(cron: str) -> bool:
    """Whether it names a time in each hour of its days."""
    return len(_simulate(read(cron), ANY_DAY).hours) == 24


def read(cron: str) -> Expression:
    """The expression in cronsim's words. Raises ValueError with what is wrong."""
    parts = ALIASES.get(cron.strip().lower(), cron).split()
    try:
        expression = Expression(_translate(parts), _years_of(parts))
        _simulate(expression, ANY_DAY)
    except CronSimError as error:
        raise _no_expression(cron, _what_is_wrong(parts, str(error))) from None
    except ValueError as error:
        raise _no_expression(cron, str(error)) from None
    return expression


def _no_expression(cron: str, reason: str) -> ValueError:
    message = _("%(cron)r isn't a cron expression: %(reason)s.")
    return ValueError(message % {"cron": cron, "reason": reason})


def _simulate(expression: Expression, after: datetime) -> CronSim:
    return CronSim(expression.text, after)


# ---------------------------------------------------------------------- the dialect


def _translate(parts: Sequence[str]) -> str:
    """All fields but the year."""
    if len(parts) not in (5, 6, 7):
        message = _("it has %(count)d fields, not 5")
        raise ValueError(message % {"count": len(parts)})
    fields = dict(zip(FIELDS, parts[:6], strict=False))
    for name in ("day-of-month", "day-of-week"):
        fields[name] = "*" if fields[name] == "?" else fields[name]
    # Two restricted fields of days mean either of them. cronsim means both of them
    # where one begins with a star, as "*/2" does.
    if "*" not in (fields["day-of-month"], fields["day-of-week"]):
        fields["day-of-month"] = fields["day-of-month"].replace("*/", "1-31/")
        fields["day-of-week"] = fields["day-of-week"].replace("*/", "0-6/")
    fields["day-of-week"] = re.sub(r"\b[Ll](\d)", r"\1L", fields["day-of-week"])
    translated = {
        name: ",".join(_unwrap(item, name) for item in text.split(","))
        for name, text in fields.items()
    }
    # The seconds come last in rows; cronsim wants them first.
    seconds = translated.pop("second", None)
    return " ".join([*([] if seconds is None else [seconds]), *translated.values()])


def _unwrap(item: str, name: str) -> str:
    """A range over the end of its field as a list: hours 22-1 are 22,23,0,1."""
    found = RANGE.fullmatch(item)
    if found is None:
        return item
    first, last = (_number(end, name) for end in found.groups()[:2])
    step = int(found[3] or 1)
    if first is None or last is None or first <= last or not step:
        return item
    allowed = range(7) if name == "day-of-week" else FIELDS[name]
    lowest, size = allowed[0], len(allowed)
    steps = range(first - lowest, first - lowest + (last - first) % size + 1, step)
    return ",".join(str(lowest + place % size) for place in steps)


def _number(text: str, name: str) -> int | None:
    """A number that a field may hold, by its digits or its name."""
    if text.isdecimal():
        return int(text) if int(text) in FIELDS[name] else None
    return NUMBERS.get(name, {}).get(text.lower())


def _years_of(parts: Sequence[str]) -> Collection[int] | None:
    """The years of a seventh field; None: all of them."""
    if parts[6:] in ([], ["*"]):
        return None
    years: set[int] = set()
    for item in parts[6].split(","):
        found = YEARS.fullmatch(item)
        allowed = FIELDS["year"]
        if found is None:
            raise ValueError(_not_understood("year", item))
        first, last, step = found.groups()
        begin = allowed[0] if first == "*" else int(first)
        end = int(last or (allowed[-1] if step or first == "*" else first))
        chosen = range(begin, end + 1, int(step or 1))
        if begin not in allowed or end not in allowed or not chosen:
            raise ValueError(_not_between("year", item, allowed))
        years.update(chosen)
    return years


def _what_is_wrong(parts: Sequence[str], complaint: str) -> str:
    """The field that cronsim complains about, in words."""
    name = complaint.removeprefix("Bad ")
    text = parts[list(FIELDS).index(name)]
    allowed = FIELDS[name]
    for number in re.findall(r"\d+", text):
        if int(number) not in allowed:
            return _not_between(name, number, allowed)
    if text.isdigit():
        return _("none of its months has %(count)s days") % {"count": text}
    return _not_understood(name, text)


def _not_between(field: str, number: str, allowed: range) -> str:
    limits = {"first": allowed[0], "last": allowed[-1]}
    text = _("%(field)s %(number)s is not between %(first)d and %(last)d")
    return text % {"field": field, "number": number, **limits}


def _not_understood(field: str, text: str) -> str:
    return _("%(field)s %(text)r can't be understood") % {"field": field, "text": text}
