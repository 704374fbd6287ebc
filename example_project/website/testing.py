"""What the tests of the site share: tasks that run at once, where they are queued."""

from __future__ import annotations

import tempfile
from pathlib import Path

from django.conf import settings
from django.test import TestCase, override_settings


class SyncTestCase(TestCase):
    """Every task runs inside async_task; pictures and mail go to a folder of the test."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.files = Path(folder.name)
        overridden = override_settings(
            Q_CLUSTER={**settings.Q_CLUSTER, "sync": True},
            MEDIA_ROOT=self.files / "media",
        )
        overridden.enable()
        self.addCleanup(overridden.disable)
