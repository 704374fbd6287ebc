"""Now, local time, and adding months and years."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone

from django_q.conf import get_options


def now() -> datetime:
    """This moment: aware, or naive where the project has USE_TZ = False."""
    return timezone.now()


def moment(given: Any) -> datetime:
    """A moment that came from elsewhere, aware or naive as this project's are.

    A package may be from a process with another USE_TZ, or from somebody's hand: what
    is no moment becomes this one.
    """
    if not isinstance(given, datetime):
        return now()
    wants_aware = bool(settings.USE_TZ)
    if wants_aware and given.tzinfo is UTC:
        # As that of each task mostly is.
        return given
    if wants_aware == timezone.is_aware(given):
        return given
    return timezone.make_aware(given) if wants_aware else timezone.make_naive(given)


def zone() -> ZoneInfo | None:
    """The zone of cron and calendar schedules; None where USE_TZ is False."""
    if not settings.USE_TZ:
        return None
    return ZoneInfo(get_options().time_zone or settings.TIME_ZONE)


def localtime(value: datetime | None = None) -> datetime:
    """A moment in the schedules' zone; now when none is given."""
    moment = value or now()
    where = zone()
    return moment if where is None else moment.astimezone(where)


def add_months(moment: datetime, months: int) -> datetime:
    """The same day so many months later, or the last day of that month."""
    index = moment.month - 1 + months
    year, month = moment.year + index // 12, index % 12 + 1
    day = min(moment.day, monthrange(year, month)[1])
    return moment.replace(year=year, month=month, day=day)


def add_years(moment: datetime, years: int) -> datetime:
    """The same day so many years later; 29 February becomes the 28th."""
    return add_months(moment, 12 * years)
