"""qmemory: shows how much memory the running clusters take, live."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_q import dashboard


class Command(BaseCommand):
    """Prints one plain snapshot where the output is not a terminal."""

    help = "Shows how much memory the running clusters take, live."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--run-once",
            "--once",
            action="store_true",
            dest="run_once",
            help="Print one snapshot and leave.",
        )
        parser.add_argument(
            "--workers",
            action="store_true",
            help="Show the memory of each worker too.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            dashboard.memory(
                run_once=options["run_once"],
                workers=options["workers"],
                stream=self.stdout,
                colour=not options["no_color"],
            )
        except dashboard.NO_ANSWER as error:
            raise CommandError(str(error)) from error
