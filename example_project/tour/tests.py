"""The pages, with and without results."""

from __future__ import annotations

import re
from io import StringIO

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import TestCase

from lab.sessions import ensure_schedule
from library.models import Document
from tour.catalogue import EXAMPLES
from tour.highlight import source_of
from tour.templatetags.tour import seconds
from website.testing import SyncTestCase

INLINE = re.compile(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:")


class PagesTest(SyncTestCase):
    def setUp(self) -> None:
        super().setUp()
        get_user_model().objects.create_user("ada", email="ada@example.com")
        Document.objects.create(path="a.rst", title="A", text="Some words. More of it.")
        ensure_schedule()

    def page(self, path: str) -> str:
        response = self.client.get(path)
        assert response.status_code == 200
        assert "default-src 'self'" in response["Content-Security-Policy"]
        text = response.content.decode()
        assert INLINE.search(text) is None
        return text

    def test_every_example_has_its_button_and_its_code(self) -> None:
        text = self.page("/")
        for example in EXAMPLES:
            self.assertInHTML(f"<button>{example.button}</button>", text)
            assert str(source_of(example.shown[0]).lines) in text

    def test_without_a_cluster_the_page_says_how_to_start_one(self) -> None:
        assert "No cluster is running" in self.page("/")

    def test_the_live_parts_are_those_of_the_page(self) -> None:
        parts = re.compile(r'data-live="([\w-]+)"')
        assert parts.findall(self.page("/")) == parts.findall(self.page("/live/"))

    def test_a_pressed_button_shows_its_result(self) -> None:
        response = self.client.post("/press/add/")
        self.assertRedirects(response, "/#add", fetch_redirect_response=False)
        assert "-2.0" in self.page("/live/")

    def test_the_other_pages_open(self) -> None:
        assert "a.rst" in self.page("/search/?q=words")
        assert "No document has all of these words" in self.page("/search/?q=xyzzy")
        assert "Mail" in self.page("/mail/")
        self.page("/admin/login/")

    def test_there_is_no_example_of_another_name(self) -> None:
        assert self.client.post("/press/nothing/").status_code == 404
        assert self.client.get("/press/add/").status_code == 405

    def test_preparing_twice_changes_nothing(self) -> None:
        with self.settings(ROOT=self.files):
            for _ in range(2):
                call_command("prepare", stdout=StringIO())
        is_in = self.client.login(username="admin", password="admin")  # noqa: S106
        assert is_in


class WordsTest(TestCase):
    def test_names_fit_into_the_terminal(self) -> None:
        assert [e for e in EXAMPLES if len(e.label) > 38] == []
        assert len({each.slug for each in EXAMPLES}) == len(EXAMPLES)

    def test_durations_read_well(self) -> None:
        said = [seconds(duration) for duration in (0.024, 3.14, 724.3)]
        assert said == ["0.02 s", "3.1 s", "12 min 04 s"]

    def test_highlighting_keeps_every_character(self) -> None:
        lines = str(source_of(seconds).lines)
        plain = re.sub(r"<[^>]+>", "", lines)
        assert "return f&quot;{duration:.2f} s&quot; if duration &lt; 1" in plain
