"""Two examples: a welcome with a follow-up, and news that fan out."""

from __future__ import annotations

from dataclasses import replace
from secrets import token_hex

from django.contrib.auth import get_user_model

from django_q.models import Schedule
from django_q.tasks import async_task, fetch
from people.mailbox import latest_letters
from people.receivers import address_changed
from people.tasks import tell_everyone, welcome
from tour.example import Example, Look, State
from tour.looks import look_at_failure, look_at_group

NAMES = ("ada", "grace", "edsger", "barbara", "radia", "donald", "katherine", "alan")


def sign_up() -> str:
    users = get_user_model().objects
    number = users.count()
    name = f"{NAMES[number % len(NAMES)]}{number}"
    user = users.create_user(name, email=f"{name}@example.com")
    return async_task(welcome, user.pk)


def look_at_welcome(task_id: str) -> Look:
    task = fetch(task_id)
    if task is None:
        return Look(state=State.WAITING, words="in the queue")
    if not task.success:
        return look_at_failure(task)
    follow_up = Schedule.objects.filter(name=f"Follow-up for {task.result}").first()
    return Look(
        state=State.SUCCEEDED,
        words=f"{task.result} has mail",
        took=float(task.time_taken()),
        more={
            "follow_up": follow_up,
            "letters": latest_letters(3, about=f"{task.result}@"),
        },
    )


def change_address() -> str:
    ada = get_user_model().objects.get(username="ada")
    ada.email = f"ada.{token_hex(2)}@example.com"
    ada.save()
    return ada.email


def look_at_news(address: str) -> Look:
    others = get_user_model().objects.exclude(username="ada").exclude(email="")
    seen = look_at_group(address, others.count(), f"everyone knows {address}")
    return replace(seen, more={"letters": latest_letters(5, about=address)})


WELCOME = Example(
    slug="welcome",
    title="Welcome, and how are you?",
    words="A letter at once, and another one in an hour: a task may plan the next.",
    button="Sign somebody up",
    label="people.tasks.welcome",
    start=sign_up,
    look=look_at_welcome,
    shown=(welcome,),
    template="people/welcome.html",
)

ADDRESS = Example(
    slug="address",
    title="News for everyone",
    words="Saving a changed address starts one task, and that one starts many.",
    button="Change Ada's address",
    label="people.tasks.tell_everyone",
    start=change_address,
    look=look_at_news,
    shown=(address_changed, tell_everyone),
    template="people/news.html",
)
