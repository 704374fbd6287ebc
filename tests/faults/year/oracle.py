"""Oracle: the slots of a schedule, by brute force. It looks at each minute on the clocks.

Shares no line with the product. Two sentences are all that it knows of daylight saving:
a wall-clock time stands for the first minute at which the clocks show it or a later one,
and what runs in every hour runs whenever the clocks show its minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class Clocks:
    """What the clocks of a zone show in each minute from `first` until `last`."""

    def __init__(self, zone: str, first: datetime, last: datetime) -> None:
        there = ZoneInfo(zone)
        self.minutes = list(each_minute(first, last))
        self.shown = [m.astimezone(there).replace(tzinfo=None) for m in self.minutes]
        self.places = dict(self._place_each())
        self._shown_at = dict(zip(self.minutes, self.shown, strict=True))

    def _place_each(self) -> Iterator[tuple[datetime, datetime]]:
        """Each minute of the calendar, and the first at which that time has come."""
        at = 0
        for wall in each_minute(self.shown[0], max(self.shown)):
            while self.shown[at] < wall:
                at += 1
            yield wall, self.minutes[at]

    def show(self, wall: datetime) -> bool:
        """Whether there is such a time."""
        minute = self.places.get(wall)
        return minute is not None and self._shown_at[minute] == wall

    # -- the rules, one for each kind of schedule

    def every(self, start: datetime, minutes: int) -> Iterator[datetime]:
        """In so many minutes again, whatever the clocks show."""
        for number, minute in enumerate(m for m in self.minutes if m >= start):
            if number % minutes == 0:
                yield minute

    def every_days(self, wall: datetime, days: int) -> Iterator[datetime]:
        """At the same time of day, so many days later."""
        while wall in self.places:
            yield self.places[wall]
            wall += days * DAY

    def every_months(self, wall: datetime, months: int) -> Iterator[datetime]:
        """At the same time of day, when so many months have passed on the UTC calendar."""
        while wall in self.places:
            yield self.places[wall]
            wall += days_until(self.places[wall].date(), months) * DAY

    def every_year(self, start: datetime) -> Iterator[datetime]:
        """On the same date and time of the UTC calendar."""
        for minute in self.minutes:
            is_anniversary = minute.replace(year=start.year) == start
            if minute >= start and is_anniversary:
                yield minute

    def by_cron(self, start: datetime, cron: str) -> Iterator[datetime]:
        """Whenever an expression of five fields says so."""
        named = Cron(cron)
        if named.is_of_every_hour:
            pairs: Iterable[tuple[datetime, datetime]] = zip(
                self.shown, self.minutes, strict=True
            )
        else:
            pairs = self.places.items()
        slots = {m for wall, m in pairs if m >= start and named.names(wall)}
        yield from sorted(slots)


class Cron:
    """The minutes that an expression names."""

    def __init__(self, text: str) -> None:
        minutes, hours, days, months, weekdays = text.split()
        self.minutes = numbers(minutes, 0, 59)
        self.hours = numbers(hours, 0, 23)
        self.days = numbers(days, 1, 31)
        self.months = numbers(months, 1, 12)
        self.weekdays = {day % 7 for day in numbers(weekdays, 0, 7)}
        self.is_either_day = "*" not in (days, weekdays)
        self.is_of_every_hour = len(self.hours) == 24

    def names(self, wall: datetime) -> bool:
        return (
            wall.minute in self.minutes
            and wall.hour in self.hours
            and wall.month in self.months
            and self._names_day(wall)
        )

    def _names_day(self, wall: datetime) -> bool:
        both = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return any(both) if self.is_either_day else all(both)


def numbers(field: str, lowest: int, highest: int) -> set[int]:
    """What a field of cron allows: numbers, ranges, lists and steps of them."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            first, last = str(lowest), str(highest)
        found.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


def days_until(day: date, months: int) -> int:
    """Days until the same day so many months later, or until the last of that month."""
    later, passed = day, 0
    while True:
        later += DAY
        passed += later.day == 1
        is_last = (later + DAY).day == 1
        if passed == months and (later.day == day.day or is_last):
            return (later - day).days


def each_minute(first: datetime, last: datetime) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += MINUTE
