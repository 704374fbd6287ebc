"""Chores of the housekeeper: what goes wrong in one stays in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from django_q.cluster import housekeeper
from django_q.cluster.frames import Frame, Kind
from django_q.cluster.housekeeper import FRESH, HEARTBEAT, Chore, Housekeeper
from django_q.cluster.lines import Line
from tests.unit.cluster.making import make_launch


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


SIGNS = {"status": "Idle", "workers": [1], "reincarnations": 0, "done_q_size": 0}


@pytest.fixture
def keeper() -> Iterator[Housekeeper]:
    """Whose heart has just beaten."""
    ours, theirs = Line.pair()
    keeper = Housekeeper(make_launch("housekeeper", ours))
    keeper.heart = Chore("the heartbeat", keeper.publish)
    keeper.signs, keeper.last_beat = SIGNS, 1000.0
    keeper.heart.due = keeper.last_beat + HEARTBEAT
    yield keeper
    keeper.control.close()
    theirs.close()


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ({"done_q_size": 5}, 1000.0 + FRESH),
        ({"status": "Working"}, 0.0),
        ({"workers": [2]}, 0.0),
    ],
)
def test_what_has_changed_is_told_soon(
    keeper: Housekeeper, change: dict[str, Any], due: float
) -> None:
    keeper.obey(Frame(Kind.VITALS, json.dumps(SIGNS | change).encode()))
    assert keeper.heart.due == due
