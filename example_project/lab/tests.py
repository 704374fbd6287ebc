"""The experiments."""

from __future__ import annotations

from unittest.mock import patch

from django.core.management import call_command

from django_q.models import Schedule
from lab import sessions, showcase, tasks
from lab.models import Countdown, Door
from tour.example import State
from website.testing import SyncTestCase


class LabTest(SyncTestCase):
    def test_the_door_opens_at_the_third_knock(self) -> None:
        door = Door.objects.create()
        for _ in range(2):
            with self.assertRaises(ConnectionError):  # noqa: PT027 - no pytest here
                tasks.knock(door.pk)
        assert tasks.knock(door.pk) == "opened at knock 3"

    def test_the_countdown_tells_how_far_it_is(self) -> None:
        with patch.object(tasks, "sleep"):
            reference = showcase.count_to(5)
        assert Countdown.objects.get().done == 4
        seen = showcase.look_at_countdown(reference)
        assert (seen.state, seen.done, seen.total) == (State.SUCCEEDED, 5, 5)

    def test_expired_sessions_are_cleared(self) -> None:
        sessions.leave_expired_sessions()
        assert sessions.expired_sessions() == 5
        call_command("clearsessions")
        assert sessions.expired_sessions() == 0

    def test_the_schedule_is_there_once(self) -> None:
        for _ in range(2):
            sessions.ensure_schedule()
        assert Schedule.objects.count() == 1
