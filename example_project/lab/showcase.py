"""Five examples: a sum, retries, progress, a thousand tasks, a schedule."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from django.utils import timezone

from django_q.models import Schedule
from django_q.tasks import async_bulk, async_task, fetch
from lab.models import Countdown, Door
from lab.sessions import (
    NAME,
    clear_every_minute,
    ensure_schedule,
    expired_sessions,
    leave_expired_sessions,
)
from lab.tasks import count_up, knock
from tour.example import Example, Look, State
from tour.looks import look_at_group, look_at_task

ORDINALS = ("no", "first", "second", "third")


def add() -> str:
    return async_task("math.copysign", 2, -2)


def be_stubborn() -> str:
    door = Door.objects.create()
    patience = {"max_attempts": 3, "retry_delay": 1}
    task_id = async_task(knock, door.pk, q_options=patience)
    return f"{door.pk} {task_id}"


def look_at_door(reference: str) -> Look:
    door_pk, task_id = reference.split()
    knocks = Door.objects.get(pk=door_pk).knocks
    seen = look_at_task(task_id)
    if seen.state is State.SUCCEEDED:
        return replace(seen, failed_attempts=knocks - 1)
    if seen.state is State.WAITING and knocks:
        words = f"{ORDINALS[knocks]} attempt failed; the next one follows"
        return Look(state=State.DELAYED, words=words, failed_attempts=knocks)
    return seen


def count_to(seconds: int) -> str:
    countdown = Countdown.objects.create(total=seconds)
    return f"{countdown.pk} {async_task(count_up, countdown.pk)}"


def count_to_sixty() -> str:
    return count_to(60)


def count_to_three() -> str:
    return count_to(3)


def look_at_countdown(reference: str) -> Look:
    countdown_pk, task_id = reference.split()
    countdown = Countdown.objects.get(pk=countdown_pk)
    seen, done = look_at_task(task_id), countdown.done or 0
    if seen.state is State.SUCCEEDED:
        done = countdown.total
    elif seen.state is State.WAITING and countdown.done is not None:
        seen = replace(seen, state=State.RUNNING, words="")
    return replace(seen, done=done, total=countdown.total)


def a_thousand() -> str:
    group = f"thousand-{uuid4().hex}"
    async_bulk("math.sqrt", ((number,) for number in range(1000)), group=group)
    return group


def look_at_thousand(group: str) -> Look:
    seen = look_at_group(group, 1000)
    if not seen.took:
        return seen
    return replace(seen, words=f"{seen.total / seen.took:,.0f} tasks a second")


def run_schedule_now() -> str:
    leave_expired_sessions()
    ensure_schedule()
    now = timezone.now()
    Schedule.objects.filter(name=NAME).update(next_run=now)
    return now.isoformat()


def look_at_schedule(reference: str) -> Look:
    """Its last run must be one that began after the button was pressed."""
    schedule = Schedule.objects.get(name=NAME)
    task = fetch(schedule.task) if schedule.task else None
    if task is None or task.started < datetime.fromisoformat(reference):
        return Look(state=State.DELAYED, words=f"{expired_sessions()} expired sessions")
    words = (
        f"{expired_sessions()} expired left; next run at {schedule.next_run:%H:%M:%S}"
    )
    return replace(look_at_task(task.id), words=words)


ADD = Example(
    slug="add",
    title="Any function",
    words="A function that can be imported can be a task: this one is Python's own.",
    button="Run math.copysign(2, -2)",
    label="math.copysign(2, -2)",
    start=add,
    look=look_at_task,
    shown=(add,),
)

FLAKY = Example(
    slug="flaky",
    title="Something flaky",
    words="It fails twice. Django Q tries again, after pauses that grow.",
    button="Knock three times",
    label="lab.tasks.knock, fails twice",
    start=be_stubborn,
    look=look_at_door,
    shown=(be_stubborn, knock),
)

COUNTDOWN = Example(
    slug="countdown",
    title="Something long",
    words="A minute of work that tells how far it is. It survives closing this page.",
    button="Count to 60",
    label="lab.tasks.count_up",
    start=count_to_sixty,
    brief=count_to_three,
    look=look_at_countdown,
    shown=(count_to, count_up),
)

THOUSAND = Example(
    slug="thousand",
    title="A thousand tiny tasks",
    words="Each has its own row and result. All enter the queue with one call.",
    button="1,000 tiny tasks",
    label="math.sqrt, 1,000 times",
    start=a_thousand,
    look=look_at_thousand,
    shown=(a_thousand,),
)

SESSIONS = Example(
    slug="schedule",
    title="Every minute",
    words="Django's own clearsessions command, on a schedule. No cron, no script.",
    button="Leave five expired sessions, and don't wait",
    label='schedule "Clear sessions"',
    start=run_schedule_now,
    look=look_at_schedule,
    shown=(clear_every_minute,),
)
