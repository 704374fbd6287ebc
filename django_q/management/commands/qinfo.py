"""qinfo: prints the summary, the settings, or the ids of the running clusters."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_q import dashboard


class Command(BaseCommand):
    """Exit code 0; 1 (with --json: 2) where the broker can't be reached."""

    help = "Prints what the clusters do."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--config",
            action="store_true",
            help="Print the settings in force and where each comes from.",
        )
        parser.add_argument(
            "--ids",
            action="store_true",
            help="Print the id of each running cluster; wins over --config.",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="Print the summary as one JSON object.",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            self.show(options)
        except dashboard.NO_ANSWER as error:
            code = 2 if options["json"] else 1
            raise CommandError(str(error), returncode=code) from error

    def show(self, options: dict[str, Any]) -> None:
        """Print what was asked for."""
        if options["ids"]:
            dashboard.get_ids(stream=self.stdout)
        elif options["config"]:
            self.stdout.write("\n".join(dashboard.list_settings(os.environ)))
        elif options["json"]:
            self.stdout.write(dashboard.as_json(dashboard.take_snapshot()))
        else:
            dashboard.info(stream=self.stdout)
