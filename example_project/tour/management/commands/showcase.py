"""Starts every example once and prints what came of each as soon as it is there."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from time import monotonic, sleep
from typing import Any

from django.core.management.base import BaseCommand

from launcher.screen import Screen, aligned
from tour.catalogue import EXAMPLES, is_as_expected, start
from tour.example import Example, Look, State
from tour.templatetags.tour import seconds

COLOURS = {State.SUCCEEDED: "ok", State.FAILED: "bad", State.RUNNING: "busy"}
LIMIT = 120.0
"""Seconds after which a result is late."""


class Command(BaseCommand):
    help = "Start every example, print each result; exit 1 if one is not as expected."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--headless", action="store_true", help="Nobody watches: run them briefly."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self.screen = Screen()
        headless = options["headless"]
        self.runs = {each.slug: start(each, briefly=headless) for each in EXAMPLES}
        awaited = [each for each in EXAMPLES if headless or not each.brief]
        long = [each for each in EXAMPLES if each not in awaited]
        self.show_each(awaited, State.SUCCEEDED, State.FAILED)
        self.show_each(long, State.SUCCEEDED, State.FAILED, State.RUNNING)
        if not all(is_as_expected(each, self.look(each)) for each in awaited):
            sys.exit(1)

    def look(self, example: Example) -> Look:
        return example.look(self.runs[example.slug].reference)

    def show_each(self, examples: list[Example], *states: State) -> None:
        """Print each as soon as it is in one of the states; at last those that hang."""
        pending, deadline = list(examples), monotonic() + LIMIT
        while pending and monotonic() < deadline:
            for example in list(pending):
                seen = self.look(example)
                if seen.state in states:
                    pending.remove(example)
                    self.show(example, seen)
            if pending:
                self.screen.whisper(f"    {len(pending)} more")
                sleep(0.1)
        for example in pending:
            self.show(example, self.look(example))

    def show(self, example: Example, seen: Look) -> None:
        took = seconds(seen.took) if seen.took is not None else ""
        line = aligned(example.label, self.describe(seen), took)
        unexpected = seen.state.is_final and not is_as_expected(example, seen)
        self.screen.say(line + ("  ! not as expected" if unexpected else ""))

    def describe(self, seen: Look) -> str:
        """Its bar when it has one, else the mark and the words."""
        screen, state = self.screen, seen.state
        colour = COLOURS.get(state, "quiet")
        if seen.total and state is State.SUCCEEDED:
            return screen.paint(colour, screen.bar(seen.done, seen.total))
        again = (screen.choose("↻", "~") + " ") * seen.failed_attempts
        mark = screen.choose(state.mark, state.plain_mark)
        return f"{again}{screen.paint(colour, mark)} {seen.words or state.word}"
