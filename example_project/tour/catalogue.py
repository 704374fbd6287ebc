"""The examples in the order of the page, and starting and looking at one."""

from __future__ import annotations

from collections.abc import Callable

import density.showcase
import lab.showcase
import library.showcase
import people.showcase
import pictures.showcase
import reports.showcase
from tour.example import Example, Look
from tour.models import Run

EXAMPLES: tuple[Example, ...] = (
    lab.showcase.ADD,
    people.showcase.WELCOME,
    pictures.showcase.RESIZE,
    library.showcase.INDEX,
    density.showcase.ESTIMATE,
    reports.showcase.REPORT,
    lab.showcase.FLAKY,
    pictures.showcase.BROKEN,
    lab.showcase.COUNTDOWN,
    people.showcase.ADDRESS,
    lab.showcase.THOUSAND,
    lab.showcase.SESSIONS,
)


def find_example(slug: str) -> Example | None:
    """The example of that name."""
    return next((example for example in EXAMPLES if example.slug == slug), None)


def start(example: Example, *, briefly: bool = False) -> Run:
    """Give the cluster the example's work and remember how to look at it."""
    begin: Callable[[], str] = example.start
    if briefly and example.brief:
        begin = example.brief
    run, _ = Run.objects.update_or_create(
        slug=example.slug, defaults={"reference": begin()}
    )
    return run


def look(example: Example, run: Run | None) -> Look | None:
    """How the example's last run stands; None before the first one."""
    if run is None:
        return None
    return example.look(run.reference)


def is_as_expected(example: Example, seen: Look) -> bool:
    """Did the run end as it should? The broken example should fail."""
    return seen.state is example.expected
