"""The curves of the estimate as points of an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 600, 200


@dataclass(frozen=True)
class Curve:
    """One window width: its polyline, and whether it fits best."""

    width: float
    points: str
    is_best: bool


def draw(results: Sequence[dict[str, Any]]) -> list[Curve]:
    """All curves on one scale; the best one last, so that it lies on top."""
    if not results:
        return []
    best = max(results, key=lambda result: result["score"])
    # A window of half a word shows single words as spikes: they may be cut off.
    top = 1.25 * max(best["curve"])
    curves = [
        Curve(result["width"], _points(result["curve"], top), result is best)
        for result in results
    ]
    return sorted(curves, key=lambda curve: (curve.is_best, curve.width))


def _points(curve: Sequence[float], top: float) -> str:
    step = WIDTH / max(len(curve) - 1, 1)
    return " ".join(
        f"{n * step:.1f},{HEIGHT - min(y / top, 1) * HEIGHT:.1f}"
        for n, y in enumerate(curve)
    )
