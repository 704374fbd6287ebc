"""The report and its hook, with tasks that run at once."""

from __future__ import annotations

from django.core import mail

from django_q.tasks import async_task
from reports.models import Report
from reports.showcase import make_report
from website.testing import SyncTestCase


class ReportTest(SyncTestCase):
    def test_the_hook_keeps_and_mails_what_the_task_counted(self) -> None:
        async_task("math.sqrt", 4)
        async_task("math.sqrt", 9)
        report = Report.objects.get(task_id=make_report())
        assert [line["func"] for line in report.lines] == ["math.sqrt"]
        assert report.lines[0]["runs"] == 2
        assert "2 x math.sqrt, 0 failed" in mail.outbox[0].body
