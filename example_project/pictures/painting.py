"""Paints what the demo resizes: forty landscapes, from dawn until the night."""

from __future__ import annotations

import math
import random
import shutil
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageColor, ImageDraw

from pictures.folders import COUNT, SAMPLES, originals

SIZE = (960, 640)
Colour = tuple[int, int, int]


class Light(NamedTuple):
    """The colours of an hour; "#" and six digits."""

    high: str
    low: str
    far: str
    near: str
    sun: str


HOURS = (
    Light("#53688f", "#f2c6b4", "#a98fa0", "#2f2b44", "#ffe9d2"),
    Light("#8fb6cf", "#fbe6c8", "#b7bfb4", "#3b5148", "#fff6dd"),
    Light("#5fa3cf", "#dcefee", "#9fc0bd", "#23544f", "#fffbe8"),
    Light("#6aa9b8", "#f4ecc9", "#b3c09a", "#3f5a33", "#fff3c4"),
    Light("#7f8fb5", "#f9cf8f", "#d0a07c", "#5a3330", "#fff0b8"),
    Light("#5d5288", "#f0967a", "#a96a7f", "#34213f", "#ffd9a8"),
    Light("#2b2c56", "#a9708f", "#6a5580", "#1c1833", "#f7dfe0"),
    Light("#0f1630", "#3d4f78", "#39486c", "#0b1022", "#eef2f7"),
)


def prepare_originals() -> int:
    """Paint what is missing; returns how many pictures that were."""
    folder = originals()
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(SAMPLES / "cat.txt", folder)
    missing = [n for n in range(COUNT) if not (folder / file_name(n)).exists()]
    for number in missing:
        _save(paint(number), folder / file_name(number))
    return len(missing)


def file_name(number: int) -> str:
    return f"{number + 1:02}.jpg"


def paint(number: int) -> Image.Image:
    """A sky, a sun or a moon, and hills that lose themselves in the haze."""
    chance = random.Random(number)
    hour = number / (COUNT - 1) * (len(HOURS) - 1)
    picture = _gradient(_colour("high", hour), _colour("low", hour))
    draw = ImageDraw.Draw(picture)
    _draw_sun(draw, chance, _colour("sun", hour))
    for depth in range(5):
        haze = _mixed(_colour("far", hour), _colour("near", hour), depth / 4)
        draw.polygon(_ridge(chance, depth), fill=haze)
    return picture


def _gradient(high: Colour, low: Colour) -> Image.Image:
    """From `high` on top to `low` at the horizon, behind the hills."""
    width, height = SIZE
    strip = Image.new("RGB", (1, 2))
    strip.putpixel((0, 0), high)
    strip.putpixel((0, 1), low)
    picture = Image.new("RGB", SIZE, low)
    sky = strip.resize((width, height * 5 // 8), Image.Resampling.BICUBIC)
    picture.paste(sky)
    return picture


def _draw_sun(draw: ImageDraw.ImageDraw, chance: random.Random, colour: Colour) -> None:
    radius = chance.uniform(22, 48)
    x = chance.uniform(0.15, 0.85) * SIZE[0]
    y = chance.uniform(0.12, 0.42) * SIZE[1]
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _ridge(chance: random.Random, depth: int) -> list[tuple[float, float]]:
    """The outline of a row of hills: a few waves on one another."""
    width, height = SIZE
    base = height * (0.46 + 0.11 * depth)
    waves = [
        (chance.uniform(0.6, 1.4) * 2**n, chance.uniform(0, math.tau), 34 / 1.8**n)
        for n in range(5)
    ]
    line = [
        (x, base + sum(h * math.sin(f * x / 150 + p) for f, p, h in waves))
        for x in range(0, width + 4, 4)
    ]
    return [(0, height), *line, (width, height)]


def _colour(part: str, hour: float) -> Colour:
    """The colour of the sky, the sun or the hills between two full hours."""
    before = min(int(hour), len(HOURS) - 2)
    start, end = (
        ImageColor.getrgb(getattr(HOURS[n], part))[:3] for n in (before, before + 1)
    )
    return _mixed(start, end, hour - before)


def _mixed(start: Colour, end: Colour, share: float) -> Colour:
    red, green, blue = (
        round(a + (b - a) * share) for a, b in zip(start, end, strict=True)
    )
    return red, green, blue


def _save(picture: Image.Image, target: Path) -> None:
    """Whole or not at all: an interrupted demo leaves no half picture behind."""
    unfinished = target.with_suffix(".part")
    picture.save(unfinished, format="JPEG", quality=88)
    unfinished.replace(target)
