"""Who sets the clock of the machine is told of."""

from __future__ import annotations

from typing import Any

import pytest
import time_machine

from django_q.cluster.shared_clock import WatchedClock


@pytest.mark.parametrize(("step", "told"), [(3600, "+3600"), (-3600, "-3600")])
def test_clock_that_somebody_sets_is_told_of_once(
    step: float, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with time_machine.travel(1_800_000_000) as shown:
        clock = WatchedClock()
        clock.watch()
        shown.shift(step)
        clock.watch()
        clock.watch()
    [line] = caplog.messages
    assert line == f"the clock of this machine was moved by {told} s"


@pytest.mark.parametrize("zoned", [True, False])
def test_clock_that_is_adjusted_a_little_is_not(
    zoned: bool, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.USE_TZ = zoned
    with time_machine.travel(1_800_000_000) as shown:
        clock = WatchedClock()
        shown.shift(1)
        clock.watch()
        shown.shift(-1.5)
        clock.watch()
    assert not caplog.messages
