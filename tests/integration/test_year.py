"""A year in small: some weeks around changes of the clocks, as `tests.faults.year` has
them. Five clusters are killed, stand still and disagree on the time; each slot runs once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.faults.year.actors import Odds
from tests.faults.year.plans import around
from tests.faults.year.world import simulate
from tests.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

ROUGH = Odds(killed=0.01, unheard=0.02, paused=0.05)


@pytest.mark.parametrize(
    ("seed", "zone", "change"),
    [
        (1, "Europe/Berlin", "2027-03-28"),
        (2, "Australia/Lord_Howe", "2027-04-04"),
    ],
)
def test_each_slot_runs_once_on_the_queue_of_the_database(
    seed: int, zone: str, change: str
):
    runs_once(seed, zone, change)


def test_each_slot_runs_once_on_redis(q_settings: Any, redis_server: RedisServer):
    q_settings(orm=None, redis=redis_server.url)
    runs_once(3, "America/New_York", "2027-11-07")


def runs_once(seed: int, zone: str, change: str) -> None:
    found = simulate(around(zone, change), seed, ROUGH, timedelta(hours=2))
    assert not found.wrong
    assert not found.left
    assert found.slots > 300
    assert min(found.counts[each] for each in ("killed", "paused", "set")) > 0
