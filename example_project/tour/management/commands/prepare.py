"""Makes the database and all that the examples need; running it again is quick."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from lab.sessions import ensure_schedule
from library.reading import read_documents
from pictures.painting import prepare_originals

PEOPLE = ("ada", "grace", "edsger", "barbara")


class Command(BaseCommand):
    help = "Make the database of the demo, with its people, texts and pictures."

    def handle(self, *args: Any, **options: Any) -> None:
        made = {"migrations": self.migrate()}
        self.invite_people()
        made["documents"] = read_documents()
        made["pictures"] = prepare_originals()
        ensure_schedule()
        new = [f"{count} {things}" for things, count in made.items() if count]
        self.stdout.write(", ".join(new) or "up to date")

    def migrate(self) -> int:
        """Bring the tables up to date; returns how many migrations that took."""
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        call_command("migrate", verbosity=0, interactive=False)
        return len(plan)

    def invite_people(self) -> None:
        """The administrator of the demo, and readers for the letters."""
        users = get_user_model().objects
        if not users.filter(username="admin").exists():
            users.create_superuser("admin", "admin@example.com", "admin")
        for name in PEOPLE:
            if not users.filter(username=name).exists():
                users.create_user(name, f"{name}@example.com")
