"""The example site: its own tests pass, under warnings as errors, and it is in order."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "example_project"


@pytest.fixture
def manage(tmp_path: Path):
    """Run the site's manage.py; what it writes goes to a folder of the test."""
    around = os.environ | {
        "DJANGO_SETTINGS_MODULE": "website.settings",
        "EXAMPLE_FILES": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=EXAMPLE,
            env=around,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_its_own_tests_pass(manage):
    done = manage("test")
    assert done.returncode == 0, done.stderr
    assert "\nOK\n" in done.stderr


def test_its_settings_give_no_warning(manage):
    done = manage("check")
    assert (done.returncode, done.stderr) == (0, "")


def test_its_models_and_migrations_agree(manage):
    done = manage("makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout


def test_its_key_is_random_kept_and_for_its_owner_only(manage, tmp_path):
    file = tmp_path / ".secret"
    for _ in range(2):
        assert manage("check").returncode == 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = file.read_text()
    assert len(key) > 50
    file.unlink()
    manage("check")
    assert file.read_text() != key


def test_preparing_it_again_finds_everything_there(manage):
    assert "40 pictures" in manage("prepare").stdout
    assert manage("prepare").stdout == "up to date\n"
