"""Scheduler: due Schedule rows become tasks, each slot once over all clusters."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final, NamedTuple

from django.db import InterfaceError, OperationalError, router
from django.db.models import QuerySet
from django.db.models.signals import post_save, pre_save

from django_q import tasks
from django_q.brokers import Broker
from django_q.brokers.registry import is_elsewhere
from django_q.cluster.abroad import Unsent
from django_q.cluster.shared_clock import SharedClock
from django_q.cluster.slots import moment_of, rhythm_of, slot_id, slot_of
from django_q.exceptions import NothingFollows
from django_q.humanhash import humanize
from django_q.logs import clean, logger
from django_q.models import Schedule, ScheduleNote, Task
from django_q.models.schedule import is_fired_by
from django_q.options import Options
from django_q.questions import Question
from django_q.recurrence import ONCE
from django_q.task_options import TASK_OPTIONS, check_options, split_options
from django_q.tasks.enqueue import Send, keep_broker, sending_at_once
from django_q.transactions import writing

LONGEST_PASS: Final = 2.0
"""Seconds after which a pass ends, so that the heartbeat goes on; more slots may wait."""

PAUSE_OF_BAD_ROW: Final = 60.0
PAUSE_AFTER_OUTAGE: Final = 3.0

OUTAGES: Final = (OperationalError, InterfaceError, ConnectionError)
"""What is wrong then is not the row."""

NEVER_FROM_TEXT: Final = frozenset({"broker", "sync", "outbox"})
"""Options that a row can't give: a task never runs inside the scheduler, and whether it
goes through the outbox is the site's decision.
"""

FROM_TEXT: Final = TASK_OPTIONS - NEVER_FROM_TEXT | {"task_name", "broker_name"}
"""Options that a row can give."""


class Setback(NamedTuple):
    """A row that could not be enqueued: left alone for a while, or until it changes."""

    row: tuple[Any, ...]
    until: float


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One slot of one schedule that becomes a task."""

    schedule: Schedule
    label: str
    task_id: str
    moment: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    changes: dict[str, Any]
    """The columns of the row after this slot."""

    anchor: str | None
    """What the next slot stands for, where the clocks skip it."""

    missed: int
    """Slots between this one and the next that are not made up for."""

    @property
    def task_name(self) -> str:
        return self.options.get("task_name") or humanize(self.task_id)

    @property
    def is_last(self) -> bool:
        """A schedule that runs once is deleted, unless its runs are counted."""
        return self.schedule.schedule_type == ONCE and self.schedule.repeats < 0

    @property
    def changes_note(self) -> bool:
        return (self.schedule.error, self.schedule.anchor) != (None, self.anchor)

    def announce_move(self) -> None:
        """Save the row as it is now, if a receiver of the project watches schedules.

        Saving is how the releases before moved it. Raises what a receiver raises.
        """
        if not any(s.has_listeners(Schedule) for s in (pre_save, post_save)):
            return
        moved = copy(self.schedule)
        for name, value in self.changes.items():
            setattr(moved, name, value)
        moved.save(update_fields=list(self.changes))


class Scheduler:
    """Fires the due schedules of one cluster.

    Each slot has a short transaction of its own, in which the row moves on, if nobody
    else has moved it, and its task is enqueued. A broker outside the database gets the
    task before that commits: after a crash in between it gets it again, under the same
    id, instead of never, unless it has run by then. With the setting `outbox` the task
    is written in the transaction, and sent after it.
    """

    def __init__(self, options: Options, broker: Broker, title: str) -> None:
        self.options = options
        self.broker = broker
        self.title = title
        self.database = router.db_for_write(Schedule)
        self._now = SharedClock(self.database).now
        self._setbacks: dict[int, Setback] = {}
        rows = self._active().order_by("next_run")
        self._moments = rows.values_list("next_run", flat=True)
        self._first_moment = Question(self._moments)
        self._is_relayed = options.outbox and is_of_settings(broker, options)

    def enqueue_due(self, now: datetime | None = None, *, once: bool = False) -> int:
        """Enqueue a task for each slot that is due, and give their number.

        `once`: of each schedule only the first, however many it has missed. A row that can't be enqueued shows its error and harms nobody. Raises what the
        database or the broker raises when it can't be reached.
        """
        moment, end = now or self._now(), monotonic() + LONGEST_PASS
        due = deque(self._due(moment))
        fired: Counter[tuple[int, str]] = Counter()
        while due and monotonic() < end:
            pk = due.popleft()
            firing = self._fire_next(pk, moment)
            if firing is None:
                continue
            fired[pk, firing.label] += 1
            if not once:
                # It may have missed more slots: again, after all others had their turn.
                due.append(pk)
        for (_, label), slots in fired.items():
            if slots > 1:
                logger.info("schedule [%s]: %d missed slots", label, slots - 1)
        return fired.total()

    def next_due(self) -> datetime | None:
        """When enqueue_due has something to do next; None while nothing is planned."""
        again = list(self._ends_of_setbacks())
        if self._setbacks:
            others = self._moments.exclude(pk__in=list(self._setbacks))
            first = next(iter(others[:1]), None)
        else:
            first = self._first_moment.ask()
        return min([*again, first] if first else again, default=None)

    def rest(self) -> float | None:
        """Seconds until next_due."""
        due = self.next_due()
        return None if due is None else max(0.0, (due - self._now()).total_seconds())

    def _due(self, now: datetime) -> list[int]:
        rows = self._active().filter(next_run__lte=now).order_by("next_run")
        return list(rows.values_list("pk", flat=True))

    def _active(self) -> QuerySet[Schedule]:
        return self._rows().filter(is_fired_by(self.options))

    def _rows(self) -> QuerySet[Schedule]:
        return Schedule.objects.using(self.database)

    # -- one schedule

    def _fire_next(self, pk: int, now: datetime) -> Firing | None:
        """Fire the next slot of a schedule; None if none is due, or the row is bad."""
        rows = self._active().select_related("note")
        schedule = rows.filter(pk=pk, next_run__lte=now).first()
        if schedule is None or self._is_set_back(schedule):
            return None
        try:
            firing = self._plan(schedule, now)
            return firing if self._fire(firing) else None
        except Unsent as error:
            self._show_error(schedule, error)
            self._set_back(schedule, PAUSE_AFTER_OUTAGE)
            return None
        except OUTAGES:
            self._set_back(schedule, PAUSE_AFTER_OUTAGE)
            raise
        except Exception as error:  # noqa: BLE001 - a bad row must not harm the others
            self._show_error(schedule, error)
            self._set_back(schedule, PAUSE_OF_BAD_ROW)
            return None

    def _plan(self, schedule: Schedule, now: datetime) -> Firing:
        """What to enqueue, and the row after it. Raises what is wrong with the row."""
        kwargs = schedule.parse_kwargs()
        options = self._options_of(schedule, pop_options(kwargs))
        given = kwargs | {"q_options": options}
        check_options(split_options(schedule.func, given)[0], among=FROM_TEXT)
        moment = moment_of(schedule).isoformat()
        if keyword := schedule.intended_date_kwarg:
            kwargs[keyword] = moment
            # What q_options names as well is a keyword of the function, not an option.
            options.setdefault(keyword, None)
        task_id = slot_id(schedule)
        following, anchor, missed = self._following(schedule, now)
        return Firing(
            schedule=schedule,
            label=label_of(schedule),
            task_id=task_id,
            moment=moment,
            args=schedule.parse_args(),
            kwargs=kwargs,
            options={**options, "task_id": task_id, "slot": moment},
            changes={**following, "task": task_id},
            anchor=anchor,
            missed=missed,
        )

    def _options_of(self, schedule: Schedule, given: dict[str, Any]) -> dict[str, Any]:
        """The options of the task; most columns of the row win."""
        options = dict(given)
        other = options.pop("broker_name", None)
        cluster = schedule.cluster or options.pop("cluster", None) or other
        options["group"] = str(options.get("group") or schedule.name or schedule.pk)
        if schedule.hook:
            options["hook"] = schedule.hook
        if cluster:
            options["cluster"] = cluster
        if (not cluster or cluster == self.options.queue) and not self._is_relayed:
            options["broker"] = self.broker
        return options

    def _following(
        self, schedule: Schedule, now: datetime
    ) -> tuple[dict[str, Any], str | None, int]:
        """Where the row stands after this slot, and how many slots it skips."""
        repeats = schedule.repeats - 1 if schedule.repeats > 0 else -1
        rhythm, slot, missed = rhythm_of(schedule), slot_of(schedule), 0
        try:
            if self.options.catch_up:
                slot = rhythm.following(slot)
            else:
                slot, missed = rhythm.skip_missed(slot, now)
        except NothingFollows:
            return {"repeats": 0}, None, 0
        moved = {"next_run": slot.moment, "repeats": repeats}
        return moved, slot.anchor, missed

    def _fire(self, firing: Firing) -> bool:
        """Move the row and enqueue the task, together; False if another was faster."""
        afterwards = self._move_and_enqueue(firing)
        if afterwards is None:
            return False
        if self.options.sync:
            # The task itself runs in this call: not inside our transaction.
            self._enqueue(firing)
        for send in afterwards:
            send()
        self._tell(firing)
        return True

    def _move_and_enqueue(self, firing: Firing) -> list[Send] | None:
        """What is to be sent afterwards; None if another was faster."""
        with writing(self.database, patient=True):
            if not self._claim(firing):
                return None
            if firing.is_last:
                self._rows().filter(pk=firing.schedule.pk).delete()
            else:
                firing.announce_move()
            if not self.options.sync and not self._has_ended(firing):
                return self._enqueue(firing)
        return []

    def _has_ended(self, firing: Firing) -> bool:
        """Whether the slot's task was sent, by somebody who crashed then, and has run.

        While it waits or runs, the broker knows its id; some do so afterwards as well, for
        tasks that leave no row.
        """
        given, cluster = map(firing.options.get, ("broker", "cluster"))
        if (given or keep_broker(cluster)).database == self.database:
            return False
        results = Task.objects.using(router.db_for_write(Task))
        return results.filter(pk=firing.task_id).exists()

    def _claim(self, firing: Firing) -> bool:
        """Move the row on, unless somebody has changed its place since it was read.

        The first statement of its transaction, and one that writes: nobody else gets
        between the look and the change, on any database.
        """
        seen = firing.schedule
        row = self._rows().filter(pk=seen.pk, next_run=seen.next_run)
        row = row.filter(repeats=seen.repeats, task=seen.task)
        if not row.update(**firing.changes):
            return False
        if firing.changes_note:
            ScheduleNote.write(seen, error=None, anchor=firing.anchor)
        return True

    def _enqueue(self, firing: Firing) -> list[Send]:
        # Looked up at the door at call time: applications patch it there.
        try:
            with sending_at_once() as afterwards:
                returned = tasks.async_task(
                    firing.schedule.func,
                    *firing.args,
                    **firing.kwargs,
                    q_options=dict(firing.options),
                )
        except OUTAGES as error:
            queue = firing.options.get("cluster")
            if queue and not firing.options.get("broker") and is_elsewhere(queue):
                raise Unsent(queue, error) from error
            raise
        if returned != firing.task_id:
            self._rows().filter(task=firing.task_id).update(task=returned)
        return afterwards

    def _tell(self, firing: Firing) -> None:
        text = "%s created task %s from schedule [%s] for %s"
        name = clean(firing.task_name)
        logger.info(text, self.title, name, firing.label, firing.moment)
        if firing.missed:
            text = "schedule [%s]: %d missed slots are left out"
            logger.info(text, firing.label, firing.missed)
        if firing.schedule.error:
            logger.info("schedule [%s] works again", firing.label)

    # -- rows that can't be enqueued

    def _show_error(self, schedule: Schedule, error: Exception) -> None:
        """Write the error into the row; into the log only when it is a new one."""
        expected = isinstance(error, (ValueError, TypeError, Unsent))
        kind = "" if expected else f"{type(error).__name__}: "
        text = clean(f"{kind}{clean(error, 1000)}", limit=1000)
        if schedule.error == text:
            return
        ScheduleNote.write(schedule, error=text, anchor=schedule.anchor)
        label = label_of(schedule)
        logger.error("schedule [%s]: %s", label, text, exc_info=not expected)

    def _set_back(self, schedule: Schedule, pause: float) -> None:
        self._setbacks[schedule.pk] = Setback(columns_of(schedule), monotonic() + pause)

    def _is_set_back(self, schedule: Schedule) -> bool:
        """Whether a row is to be left alone: it failed lately and is still the same."""
        setback = self._setbacks.get(schedule.pk)
        if setback is None:
            return False
        if monotonic() < setback.until and setback.row == columns_of(schedule):
            return True
        del self._setbacks[schedule.pk]
        return False

    def _ends_of_setbacks(self) -> Iterator[datetime]:
        """When each row that was set back is to be tried again."""
        for pk, setback in list(self._setbacks.items()):
            schedule = self._active().filter(pk=pk).first()
            if schedule is None:
                del self._setbacks[pk]
            elif self._is_set_back(schedule):
                yield self._now() + timedelta(seconds=setback.until - monotonic())


def pop_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take the options out of a row's keywords; only those that text may choose."""
    given = kwargs.pop("q_options", None) or {}
    if not isinstance(given, dict):
        message = "q_options is no dictionary."
        raise TypeError(message)
    if "task_name" in kwargs:
        given = {**given, "task_name": kwargs.pop("task_name")}
    for name in NEVER_FROM_TEXT:
        kwargs.pop(name, None)
    return {name: value for name, value in given.items() if name in FROM_TEXT}


def is_of_settings(broker: Broker, options: Options) -> bool:
    """Whether it is the broker that others find for this queue, too."""
    own = keep_broker(options.queue)
    return type(broker) is type(own) and broker.list_key == own.list_key


def label_of(schedule: Schedule) -> str:
    """A schedule as log lines call it."""
    return clean(schedule.name or schedule.pk)


def columns_of(schedule: Schedule) -> tuple[Any, ...]:
    """All that a row says."""
    fields = schedule._meta.concrete_fields  # noqa: SLF001 - Django's name for it
    return tuple(getattr(schedule, field.attname) for field in fields)
