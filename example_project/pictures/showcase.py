"""Two examples: pictures resized in a group, and a file that is no picture."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from django.conf import settings

from django_q.tasks import async_task
from pictures.folders import COUNT, forget_thumbnails, thumbnails
from pictures.painting import file_name
from pictures.tasks import resize
from tour.example import Example, Look, State
from tour.looks import look_at_group, look_at_task


def resize_all() -> str:
    forget_thumbnails()
    group = f"pictures-{uuid4().hex}"
    for number in range(COUNT):
        async_task(resize, file_name(number), group, group=group)
    return group


def look_at_pictures(group: str) -> Look:
    seen = look_at_group(group, COUNT, f"{COUNT} pictures resized")
    present = sorted(path.name for path in (thumbnails() / group).glob("*.jpg"))
    address = f"{settings.MEDIA_URL}thumbnails/{group}"
    pictures = [f"{address}/{name}" for name in present]
    return replace(seen, more={"pictures": pictures})


def resize_a_cat() -> str:
    return async_task(resize, "cat.txt", "broken")


RESIZE = Example(
    slug="pictures",
    title="Forty pictures",
    words="One task each, joined by a group that knows how many are done.",
    button="Resize 40 pictures",
    label="pictures.tasks.resize, 40 pictures",
    start=resize_all,
    look=look_at_pictures,
    shown=(resize_all, resize),
    template="pictures/thumbnails.html",
)

BROKEN = Example(
    slug="broken",
    title="Something broken",
    words="A file that says it is a cat. The failure is kept, with its traceback.",
    button="Resize cat.txt",
    label='pictures.tasks.resize("cat.txt")',
    start=resize_a_cat,
    look=look_at_task,
    shown=(resize_a_cat,),
    expected=State.FAILED,
    template="tour/traceback.html",
)
