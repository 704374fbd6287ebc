"""An example: one computation split into the tasks of a group."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from density.chart import draw
from density.sample import sentence_lengths
from density.tasks import estimate
from django_q.tasks import async_task, fetch_group
from tour.example import Example, Look
from tour.looks import look_at_group

WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0)


def try_all_widths() -> str:
    group = f"density-{uuid4().hex}"
    sample = sentence_lengths()
    for width in WIDTHS:
        async_task(estimate, width, sample, group=group)
    return group


def look_at_density(group: str) -> Look:
    seen = look_at_group(group, len(WIDTHS))
    tasks = fetch_group(group, failures=False) or ()
    curves = draw([task.result for task in tasks])
    if not curves:
        return seen
    sample: list[int] = list(tasks[0].args)[1]
    words = f"{len(sample)} sentences; a window of {curves[-1].width:g} words fits best"
    return replace(seen, words=words, more={"curves": curves, "longest": max(sample)})


ESTIMATE = Example(
    slug="density",
    title="How long are our sentences?",
    words="A Parzen-window estimate. Twelve widths are tried at once, one wins.",
    button="Estimate the density",
    label="density.tasks.estimate, 12 windows",
    start=try_all_widths,
    look=look_at_density,
    shown=(try_all_widths, estimate),
    template="density/chart.html",
)
