"""An example: a report whose hook keeps and mails it."""

from __future__ import annotations

from dataclasses import replace

from django_q.tasks import async_task
from reports.hooks import keep_and_mail
from reports.models import Report
from reports.tasks import what_ran
from tour.example import Example, Look, State
from tour.looks import look_at_task


def make_report() -> str:
    return async_task(what_ran, hook="reports.hooks.keep_and_mail")


def look_at_report(task_id: str) -> Look:
    seen = look_at_task(task_id)
    report = Report.objects.filter(task_id=task_id).first()
    if report is None:
        waits = seen.state is State.SUCCEEDED
        return replace(seen, state=State.RUNNING, words="hook") if waits else seen
    words = f"{len(report.lines)} functions; mailed by the hook"
    return replace(seen, words=words, more={"report": report})


REPORT = Example(
    slug="report",
    title="A report, and what follows",
    words="A task counts what ran here. Its hook keeps the result and mails it.",
    button="Make a report",
    label="reports.tasks.what_ran, with a hook",
    start=make_report,
    look=look_at_report,
    shown=(make_report, what_ran, keep_and_mail),
    template="reports/report.html",
)
