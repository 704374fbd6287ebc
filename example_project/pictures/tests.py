"""Resizing, with tasks that run at once."""

from __future__ import annotations

from unittest.mock import patch

from PIL import Image

from django_q.models import Failure, Success
from django_q.tasks import async_task
from pictures import painting
from pictures.folders import originals, thumbnails
from pictures.tasks import resize
from website.testing import SyncTestCase


class ResizeTest(SyncTestCase):
    def setUp(self) -> None:
        super().setUp()
        # One landscape is enough here; the demo paints forty.
        with patch.object(painting, "COUNT", 2):
            painting.prepare_originals()

    def test_a_small_copy_is_made(self) -> None:
        task_id = async_task(resize, "01.jpg", "run")
        assert Success.objects.get(pk=task_id).result == (240, 160)
        with Image.open(thumbnails() / "run" / "01.jpg") as copy:
            assert copy.size == (240, 160)

    def test_a_text_is_no_picture(self) -> None:
        with self.assertRaisesMessage(
            ValueError, "cannot identify image file 'cat.txt'"
        ):
            async_task(resize, "cat.txt", "run")
        assert "cat.txt" in Failure.objects.get().result

    def test_painting_twice_paints_once(self) -> None:
        with patch.object(painting, "COUNT", 2):
            assert painting.prepare_originals() == 0
        assert len(list(originals().glob("*.jpg"))) == 2
