"""Making pictures smaller."""

from __future__ import annotations

from PIL import Image, UnidentifiedImageError

from pictures.folders import originals, thumbnails


def resize(name: str, run: str, width: int = 240) -> tuple[int, int]:
    """Make a small copy of a picture; returns its size."""
    try:
        picture = Image.open(originals() / name)
    except UnidentifiedImageError as error:
        reason = f"cannot identify image file {name!r}"
        raise ValueError(reason) from error
    with picture:
        picture.thumbnail((width, width))
        target = thumbnails() / run / name
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.save(target, quality=88)
        return picture.size
