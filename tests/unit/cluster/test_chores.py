"""Chores of the housekeeper: what goes wrong in one stays in it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from django_q.cluster import housekeeper
from django_q.cluster.housekeeper import Chore


def test_connection_that_can_not_be_freshened_does_not_end_the_housekeeper(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_connection: Any) -> None:
        raise OSError("closed already")

    done: list[str] = []

    def sweep() -> float:
        done.append("swept")
        return 60.0

    chore = Chore("sweeping", sweep)
    monkeypatch.setattr(connections, "all", lambda **_how: [object()])
    monkeypatch.setattr(housekeeper, "freshen", refuse)
    chore.perform()
    assert "sweeping failed (closed already)" in caplog.text
    monkeypatch.setattr(housekeeper, "freshen", lambda _connection: None)
    chore.perform()
    assert done == ["swept"]
