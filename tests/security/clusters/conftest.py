"""A real cluster, shared by the tests here. The database makes no difference to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import cluster, db, lodge, new_cluster, running_cluster
from tests.settings import ENGINE

__all__ = ["cluster", "db", "lodge", "new_cluster", "running_cluster"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if ENGINE != "sqlite":
        mine = [item for item in items if item.path.is_relative_to(HERE)]
        config.hook.pytest_deselected(items=mine)
        items[:] = [item for item in items if item not in mine]
