"""The experiments."""

from __future__ import annotations

from time import sleep

from django.db.models import F

from lab.models import Countdown, Door


def knock(door_pk: int) -> str:
    """Nobody opens before the third knock."""
    Door.objects.filter(pk=door_pk).update(knocks=F("knocks") + 1)
    knocks = Door.objects.get(pk=door_pk).knocks
    if knocks < 3:
        raise ConnectionError(f"nobody opened at knock {knocks}")
    return f"opened at knock {knocks}"


def count_up(countdown_pk: int) -> int:
    """Take a second for each step, and tell how far it is."""
    countdown = Countdown.objects.get(pk=countdown_pk)
    for done in range(countdown.total):
        Countdown.objects.filter(pk=countdown_pk).update(done=done)
        sleep(1)
    return countdown.total
