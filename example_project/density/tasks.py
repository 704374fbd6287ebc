"""The Parzen-window estimate of a density, and how well it fits."""

from __future__ import annotations

from math import exp, log, pi, sqrt
from typing import Any

TINY = 1e-300


def estimate(width: float, sample: list[int]) -> dict[str, Any]:
    """The density seen through Gaussian windows of this width.

    Its score: how likely each sentence is, judged by the others.
    """
    scale = 1 / (width * sqrt(2 * pi) * len(sample))

    def density(x: float) -> float:
        steps = ((x - length) / width for length in sample)
        return scale * sum(exp(-(step**2) / 2) for step in steps)

    score = sum(log(max(density(x) - scale, TINY)) for x in sample)
    curve = [density(x / 2) for x in range(2 * max(sample) + 1)]
    return {"width": width, "score": score, "curve": curve}
