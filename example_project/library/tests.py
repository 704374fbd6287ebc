"""Indexing and searching, with tasks that run at once."""

from __future__ import annotations

from library.models import Document, Posting
from library.search import search
from website.testing import SyncTestCase


class SearchTest(SyncTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.save("cron", "Cron schedules run by the clock. A schedule may run daily.")
        self.save("queue", "A queue <b>holds</b> tasks until a worker runs them.")

    def save(self, name: str, text: str) -> Document:
        return Document.objects.create(path=f"{name}.rst", title=name, text=text)

    def titles(self, query: str) -> list[str]:
        return [hit.document.title for hit in search(query)]

    def test_a_saved_document_is_found(self) -> None:
        assert self.titles("daily schedule") == ["cron"]

    def test_every_word_must_be_there(self) -> None:
        assert self.titles("schedule worker") == []

    def test_the_more_telling_document_comes_first(self) -> None:
        self.save("clock", "clock " * 5)
        assert self.titles("clock") == ["clock", "cron"]

    def test_a_changed_document_is_indexed_again(self) -> None:
        document = Document.objects.get(title="queue")
        document.text = "Nothing about that."
        document.save()
        assert self.titles("worker") == []
        assert Posting.objects.filter(document=document).count() == 3

    def test_hostile_text_stays_text(self) -> None:
        passage = search("holds")[0].passage
        assert "&lt;b&gt;<mark>holds</mark>&lt;/b&gt;" in passage

    def test_nothing_and_nonsense_find_nothing(self) -> None:
        assert [self.titles(query) for query in ("", "((", "xyzzy")] == [[]] * 3
