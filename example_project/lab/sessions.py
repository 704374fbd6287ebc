"""Expired sessions, as every site collects them."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.sessions.models import Session
from django.utils import timezone
from django.utils.crypto import get_random_string

from django_q.models import Schedule
from django_q.tasks import schedule

NAME = "Clear sessions"


def clear_every_minute() -> None:
    schedule(
        "django.core.management.call_command",
        "clearsessions",
        name=NAME,
        schedule_type="I",
        minutes=1,
    )


def ensure_schedule() -> None:
    """The schedule survives restarts: it is a row in the database."""
    if not Schedule.objects.filter(name=NAME).exists():
        clear_every_minute()


def leave_expired_sessions(count: int = 5) -> None:
    """Something for clearsessions to do."""
    yesterday = timezone.now() - timedelta(days=1)
    Session.objects.bulk_create(
        Session(session_key=get_random_string(32), expire_date=yesterday)
        for _ in range(count)
    )


def expired_sessions() -> int:
    """How many there are now."""
    return Session.objects.filter(expire_date__lt=timezone.now()).count()
