"""Mail, sent by the workers."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth import get_user_model
from django.core.mail import send_mail
from django.utils import timezone

from django_q.tasks import async_task, schedule

FOLLOW_UP = """Dear {name},

an hour ago you signed up. Is everything all right?
"""
WELCOME = """Dear {name},

welcome! In an hour we will ask you how you are doing.
"""
NEWS = """Dear {reader},

{name} can be reached at {new} now, and no longer at {old}.
"""


def welcome(user_pk: int) -> str:
    """Write to a new user at once, and again in an hour."""
    user = get_user_model().objects.get(pk=user_pk)
    text = WELCOME.format(name=user.username)
    send_mail("Welcome", text, None, [user.email])
    schedule(
        "people.tasks.follow_up",
        user.pk,
        name=f"Follow-up for {user.username}",
        schedule_type="O",
        next_run=timezone.now() + timedelta(hours=1),
    )
    return user.username


def follow_up(user_pk: int) -> None:
    """The second letter; nobody gets it who has left meanwhile."""
    user = get_user_model().objects.filter(pk=user_pk).first()
    if user:
        text = FOLLOW_UP.format(name=user.username)
        send_mail("How are you?", text, None, [user.email])


def tell_everyone(user_pk: int, old: str, new: str) -> int:
    """A task for each letter; their group is the new address."""
    users = get_user_model().objects
    name = users.get(pk=user_pk).username
    others = users.exclude(pk=user_pk).exclude(email="")
    for reader in others:
        names = {"reader": reader.username, "name": name}
        text = NEWS.format(**names, old=old, new=new)
        letter = ("A new address", text, None, [reader.email])
        async_task("django.core.mail.send_mail", *letter, group=new)
    return len(others)
