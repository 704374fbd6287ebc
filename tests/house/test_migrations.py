"""Models and migrations agree."""

from __future__ import annotations

import pytest
from django.core.management import call_command


@pytest.mark.django_db
def test_models_need_no_further_migration(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        call_command(
            "makemigrations", "django_q", check=True, dry_run=True, verbosity=2
        )
    except SystemExit:
        pytest.fail(capsys.readouterr().out)
