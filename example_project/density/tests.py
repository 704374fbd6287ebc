"""The estimate is a density, and the best width is a sensible one."""

from __future__ import annotations

from unittest import TestCase

from density.chart import draw
from density.tasks import estimate

SAMPLE = [10, 11, 12, 12, 13, 14, 30, 31, 31, 32, 33]


class EstimateTest(TestCase):
    def test_the_curve_is_a_density(self) -> None:
        curve = estimate(0.5, SAMPLE)["curve"]
        # Only what reaches beyond the longest sentence is missing.
        assert 0.94 < sum(curve) / 2 < 1.0

    def test_too_narrow_and_too_wide_windows_score_less(self) -> None:
        narrow, good, wide = (
            estimate(width, SAMPLE)["score"] for width in (0.05, 2, 50)
        )
        assert good > narrow
        assert good > wide

    def test_the_best_curve_lies_on_top(self) -> None:
        curves = draw([estimate(width, SAMPLE) for width in (0.05, 2.0, 50.0)])
        assert [curve.is_best for curve in curves] == [False, False, True]
        assert curves[-1].width == 2.0

    def test_nothing_to_draw_draws_nothing(self) -> None:
        assert draw([]) == []
