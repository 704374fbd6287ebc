"""Plans: the schedules of the simulated site, and the slots that the oracle gives each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from itertools import product
from typing import Any, Final

from django_q.models import Schedule
from tests.faults.year.oracle import DAY, Clocks

SLOT: Final = "slot"
"""The keyword in which each task is told its slot."""

BAD_TIMES: Final = ("00:00", "01:45", "02:00", "02:15", "02:30", "03:00")
"""One of them is skipped, and one repeated, wherever there is daylight saving."""

DAYS: Final = {Schedule.DAILY: 1, Schedule.WEEKLY: 7, Schedule.BIWEEKLY: 14}
MONTHS: Final = {Schedule.MONTHLY: 1, Schedule.BIMONTHLY: 2, Schedule.QUARTERLY: 3}

CRONS: Final = (
    "30 2 * * *",
    "*/15 2 * * *",
    "15 0,1,2,3 * * *",
    "0 0-8/2 * * *",
    "45 1 * * 0,6",
    "30 2 15,29 * 1",
    "5 0 31 * *",
)
CRON_OF_EVERY_HOUR: Final = "20 * * * {}"
SUNDAYS: Final = "0"

FEW: Final = 80


@dataclass(frozen=True)
class Span:
    """When it happens, and on whose clocks."""

    zone: str
    first: datetime
    last: datetime
    is_dense: bool = True
    """What runs in every hour does so to the end; else a few times, and on Sundays."""

    often_from: datetime | None = None
    """When what runs on every day begins; None: at once, as all else."""


@dataclass
class Plan:
    """A schedule, and its slots until the end, each as its task is told it."""

    name: str
    columns: dict[str, Any]
    slots: list[str]


def make_plans(span: Span) -> list[Plan]:
    """Schedules of every kind."""
    return list(Maker(span).all())


def expected(plans: Iterable[Plan]) -> Counter[tuple[str, str]]:
    """Each slot of each schedule, once."""
    return Counter((plan.name, slot) for plan in plans for slot in plan.slots)


class Maker:
    def __init__(self, span: Span) -> None:
        self.clocks = Clocks(span.zone, span.first, span.last)
        self.is_dense = span.is_dense
        # Not with the very first minute, so that some have not begun when others run.
        self.first = span.first + timedelta(minutes=7)
        self.often_from = span.often_from or self.first

    def all(self) -> Iterator[Plan]:
        yield from self.days()
        yield from self.months()
        yield from self.once_and_yearly()
        yield from self.intervals()
        yield from self.crons()

    def days(self) -> Iterator[Plan]:
        """From Sundays on, when clocks are changed; of two weeks, from both."""
        for kind, days in DAYS.items():
            for time in BAD_TIMES:
                wall = self.start_of(kind, time)
                for week in range(1 + (days == 14)):
                    start = wall + 7 * week * DAY
                    slots = self.clocks.every_days(start, days)
                    yield self.plan(kind, f"{kind} {start:%d %H:%M}", slots)

    def start_of(self, kind: str, time: str) -> datetime:
        is_daily = kind == Schedule.DAILY
        begun = self.often_from.date() if is_daily else date.min
        weekdays = range(7) if is_daily else (6,)
        return self.start(time, lambda day: day >= begun and day.weekday() in weekdays)

    def months(self) -> Iterator[Plan]:
        for number, (kind, months) in product((1, 14, 28, 31), MONTHS.items()):
            wall = self.start("02:30", partial(is_day, number))
            slots = self.clocks.every_months(wall, months)
            yield self.plan(kind, f"{kind} {number}", slots)

    def once_and_yearly(self) -> Iterator[Plan]:
        for hours in (0, 1000):
            slots = iter([self.first + timedelta(hours=hours)])
            yield self.plan(Schedule.ONCE, f"O {hours}", slots)
        slots = self.clocks.every_year(self.first)
        yield self.plan(Schedule.YEARLY, "Y", slots)

    def intervals(self) -> Iterator[Plan]:
        for minutes in (97, 1440):
            slots = self.clocks.every(self.often_from, minutes)
            plan = self.plan(Schedule.MINUTES, f"I {minutes}", slots, minutes=minutes)
            yield self.limited(plan)
        slots = self.clocks.every(self.often_from, 60)
        yield self.limited(self.plan(Schedule.HOURLY, "H", slots))

    def limited(self, plan: Plan) -> Plan:
        if not self.is_dense:
            plan.columns["repeats"] = FEW
            plan.slots = plan.slots[:FEW]
        return plan

    def crons(self) -> Iterator[Plan]:
        weekdays = "*" if self.is_dense else SUNDAYS
        for cron in (*CRONS, CRON_OF_EVERY_HOUR.format(weekdays)):
            slots = self.clocks.by_cron(self.often_from, cron)
            plan = self.plan(Schedule.CRON, f"C {cron}", slots, cron=cron)
            # The first match is found by the product itself.
            plan.columns["next_run"] = self.often_from
            yield plan

    def start(self, time: str, fits: Callable[[date], bool]) -> datetime:
        """The first wall-clock time at which a schedule may begin: one that there is."""
        wall = datetime.fromisoformat(f"{self.clocks.shown[0]:%Y-%m-%d} {time}")
        while not (fits(wall.date()) and self.clocks.show(wall)):
            wall += DAY
        return wall

    def plan(
        self, kind: str, name: str, slots: Iterator[datetime], **columns: Any
    ) -> Plan:
        moments = list(slots)
        columns |= {"schedule_type": kind, "next_run": min(moments, default=None)}
        return Plan(name, columns, [moment.isoformat() for moment in moments])


def is_day(number: int, day: date) -> bool:
    return day.day == number


def around(zone: str, change: str) -> Span:
    """From a month before a change of the clocks until a week after it; few slots."""
    day = datetime.fromisoformat(f"{change}T00:00+00:00")
    first, last = day - timedelta(weeks=5), day + timedelta(weeks=1)
    return Span(zone, first, last, is_dense=False, often_from=day - 2 * DAY)
