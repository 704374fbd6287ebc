"""Where the pictures lie."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings

SAMPLES = Path(__file__).parent / "samples"
COUNT = 40


def originals() -> Path:
    """The folder of the pictures to resize."""
    return Path(settings.MEDIA_ROOT) / "originals"


def thumbnails() -> Path:
    """The folder that has one folder of small pictures for each run."""
    return Path(settings.MEDIA_ROOT) / "thumbnails"


def forget_thumbnails() -> None:
    """Make room for the next run."""
    shutil.rmtree(thumbnails(), ignore_errors=True)
