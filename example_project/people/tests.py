"""Signing up and moving, with tasks that run at once."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth import get_user_model
from django.core import mail
from django.utils import timezone

from django_q.models import Schedule
from people.tasks import follow_up, welcome
from website.testing import SyncTestCase


class WelcomeTest(SyncTestCase):
    def setUp(self) -> None:
        super().setUp()
        users = get_user_model().objects
        self.ada = users.create_user("ada", email="ada@example.com")

    def test_a_letter_goes_out_at_once(self) -> None:
        welcome(self.ada.pk)
        assert mail.outbox[0].to == ["ada@example.com"]
        assert "Dear ada" in mail.outbox[0].body

    def test_another_letter_is_planned_in_an_hour(self) -> None:
        welcome(self.ada.pk)
        planned = Schedule.objects.get(name="Follow-up for ada")
        assert planned.next_run is not None
        assert planned.schedule_type == Schedule.ONCE
        hour = timezone.now() + timedelta(hours=1)
        assert abs(planned.next_run - hour) < timedelta(minutes=1)

    def test_who_has_left_gets_no_second_letter(self) -> None:
        pk = self.ada.pk
        self.ada.delete()
        follow_up(pk)
        assert mail.outbox == []


class AddressTest(SyncTestCase):
    def setUp(self) -> None:
        super().setUp()
        users = get_user_model().objects
        for name in ("ada", "grace", "edsger"):
            users.create_user(name, email=f"{name}@example.com")
        self.ada = users.get(username="ada")

    def test_a_changed_address_tells_everyone_else(self) -> None:
        self.ada.email = "ada@example.org"
        self.ada.save()
        told = {letter.to[0] for letter in mail.outbox}
        assert told == {"grace@example.com", "edsger@example.com"}
        assert "ada@example.org" in mail.outbox[0].body

    def test_an_unchanged_address_tells_nobody(self) -> None:
        self.ada.first_name = "Ada"
        self.ada.save()
        assert mail.outbox == []
