"""A bomb: harm that can be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.security.harm import Bomb


@pytest.fixture
def bomb(tmp_path: Path) -> Bomb:
    return Bomb(tmp_path / "exploded")
