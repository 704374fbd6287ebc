"""The filter of the tour's pages: durations as people write them."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def seconds(duration: float) -> str:
    """0.02 s, 3.1 s, 12 min 04 s."""
    if duration >= 60:
        return f"{duration // 60:.0f} min {duration % 60:02.0f} s"
    return f"{duration:.2f} s" if duration < 1 else f"{duration:.1f} s"
