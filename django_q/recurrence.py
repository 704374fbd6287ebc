"""Recurrence: when a schedule runs next; where daylight saving is reasoned about.

Two rules settle every change of the clocks. A wall-clock time that does not exist that
day stands for the next moment that does; one that comes twice stands for the first.
A time that was moved so must not stay moved: its slot carries the time that was meant,
and the next step is taken from that.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, NamedTuple

from django_q.clock import add_months, add_years
from django_q.cron import matches, runs_every_hour
from django_q.exceptions import NothingFollows

ONCE: Final = "O"
MINUTES: Final = "I"
HOURLY: Final = "H"
YEARLY: Final = "Y"
CRON: Final = "C"

DAYS: Final = {"D": 1, "W": 7, "BW": 14}
MONTHS: Final = {"M": 1, "BM": 2, "Q": 3}

MOST_COUNTED: Final = 1000
"""Matches of cron are looked up one by one; nobody needs to know more exactly."""


class Slot(NamedTuple):
    """One run of a schedule."""

    moment: datetime
    """When: in UTC, or naive where the project has USE_TZ = False."""

    meant: datetime | None = None
    """The wall-clock time that does not exist that day, where `moment` is instead."""

    @property
    def anchor(self) -> str | None:
        """What was meant, as the schedule's row keeps it."""
        return self.meant.isoformat() if self.meant else None


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """The rhythm of a schedule. Without a zone all times are naive, and so computed."""

    schedule_type: str
    minutes: int | None = None
    cron: str | None = None
    zone: tzinfo | None = None

    def following(self, slot: Slot) -> Slot:
        """The slot after this one. Raises ValueError; NothingFollows at the end."""
        kind = self.schedule_type
        if kind == CRON:
            return Slot(next_match(self.cron or "", slot.moment, self.zone))
        if kind in DAYS or kind in MONTHS:
            return self._same_time_of_day(slot)
        moment = _in_utc(slot.moment, self.zone)
        if kind == YEARLY:
            return Slot(add_years(moment, 1))
        if kind in (MINUTES, HOURLY):
            return Slot(moment + self._interval())
        if kind == ONCE:
            message = "A schedule of type 'O' runs once: nothing follows."
            raise NothingFollows(message)
        message = f"There is no schedule of type {kind!r}."
        raise ValueError(message)

    def skip_missed(self, slot: Slot, now: datetime) -> tuple[Slot, int]:
        """The first slot in the future, and how many before it were missed.

        `slot` itself, which runs now, does not count as missed. Missed slots of cron are
        counted up to MOST_COUNTED.
        """
        if self.schedule_type in (MINUTES, HOURLY):
            return self._skip_intervals(slot, now)
        missed, later = 0, self.following(slot)
        while later.moment <= now:
            missed, later = missed + 1, self.following(later)
            if self.schedule_type == CRON and missed == MOST_COUNTED:
                later = self.following(Slot(now))
        return later, missed

    def _same_time_of_day(self, slot: Slot) -> Slot:
        """The same wall-clock time so many days later.

        Months are counted on the UTC date and then taken as days: the day of a month
        that was cut to 28, 29 or 30 stays cut.
        """
        wall = self._wall_of(slot)
        days = DAYS.get(self.schedule_type)
        if days is None:
            date = _in_utc(wall, self.zone)
            days = (add_months(date, MONTHS[self.schedule_type]) - date).days
        return place(wall + timedelta(days=days), self.zone)

    def _wall_of(self, slot: Slot) -> datetime:
        """The wall-clock time that a slot stands for.

        What was meant counts only while the slot stands where that time was moved to:
        somebody may have given the schedule another next run, or another zone.
        """
        if slot.meant and place(slot.meant, self.zone).moment == slot.moment:
            return slot.meant
        return _wall(slot.moment, self.zone)

    def _interval(self) -> timedelta:
        if self.schedule_type == HOURLY:
            return timedelta(hours=1)
        return timedelta(minutes=self.minutes or 1)

    def _skip_intervals(self, slot: Slot, now: datetime) -> tuple[Slot, int]:
        """In one leap: a minute's schedule may have slept for a year."""
        moment, interval = _in_utc(slot.moment, self.zone), self._interval()
        missed = max(0, (_in_utc(now, self.zone) - moment) // interval)
        return Slot(moment + (missed + 1) * interval), missed


def next_run(
    schedule_type: str,
    after: datetime,
    *,
    minutes: int | None = None,
    cron: str | None = None,
    zone: tzinfo | None = None,
) -> datetime:
    """The run after the one at `after`, in UTC; naive without a zone."""
    rhythm = Recurrence(
        schedule_type=schedule_type, minutes=minutes, cron=cron, zone=zone
    )
    return rhythm.following(Slot(after)).moment


def place(wall: datetime, zone: tzinfo | None) -> Slot:
    """The slot of a wall-clock time: the first one if it comes twice that day.

    If it does not come at all that day, the next moment that does.
    """
    if zone is None:
        return Slot(wall)
    moment = _in_utc(wall, zone)
    if _exists(wall, zone):
        return Slot(moment)
    return Slot(_end_of_gap(wall, zone), wall)


def _exists(wall: datetime, zone: tzinfo) -> bool:
    """Whether the clocks of a zone ever show this time."""
    return _wall(_in_utc(wall, zone), zone) == wall.replace(fold=0)


def _end_of_gap(wall: datetime, zone: tzinfo) -> datetime:
    """The moment when the clocks jump over this time."""
    before = _in_utc(wall, zone, fold=1).replace(microsecond=0)
    after = _in_utc(wall, zone)
    later_offset = after.astimezone(zone).utcoffset()
    seconds = range(int((after - before).total_seconds()) + 1)

    def has_jumped(second: int) -> bool:
        moment = before + timedelta(seconds=second)
        return moment.astimezone(zone).utcoffset() == later_offset

    return before + timedelta(seconds=bisect_left(seconds, True, key=has_jumped))


def _in_utc(moment: datetime, zone: tzinfo | None, *, fold: int = 0) -> datetime:
    """A moment in UTC; a naive one is wall-clock time. Unchanged without a zone."""
    if zone is None:
        return moment
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone, fold=fold)
    return moment.astimezone(UTC)


def _wall(moment: datetime, zone: tzinfo | None) -> datetime:
    """What the clocks of a zone show at a moment."""
    if zone is None or moment.tzinfo is None:
        return moment
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


# --------------------------------------------------------------------------- cron


def next_match(cron: str, after: datetime, zone: tzinfo | None) -> datetime:
    """The first moment after `after` that a cron expression names.

    Expressions that run in every hour follow the hours as they pass: the one that the
    clocks repeat has its runs, the one that they skip has none. All others follow the
    two rules of this module. Raises ValueError for what is not an expression, and
    NothingFollows after the last match.
    """
    if zone is None:
        return next(matches(cron, after))
    after = _in_utc(after, zone)
    wall = _wall(after, zone)
    if runs_every_hour(cron):
        return _next_as_hours_pass(cron, after, zone)
    places = (place(match, zone).moment for match in matches(cron, wall))
    return next(moment for moment in places if moment > after)


def first_match(cron: str, start: datetime, zone: tzinfo | None) -> datetime:
    """The first moment that a cron expression names, `start` itself included."""
    return next_match(cron, start - timedelta(microseconds=1), zone)


def _next_as_hours_pass(cron: str, after: datetime, zone: tzinfo) -> datetime:
    """The next match, taking a repeated hour twice and a skipped one not at all."""
    wall = _wall(after, zone)
    start = wall - max(_repeated(wall, zone), timedelta())

    def first(fold: int) -> datetime:
        shown = (match for match in matches(cron, start) if _exists(match, zone))
        moments = (_in_utc(match, zone, fold=fold) for match in shown)
        return next(moment for moment in moments if moment > after)

    return min(first(0), first(1))


def _repeated(wall: datetime, zone: tzinfo) -> timedelta:
    """How much later a wall-clock time comes again; negative inside a gap."""
    return _in_utc(wall, zone, fold=1) - _in_utc(wall, zone)
