"""Searching the index: documents with all the words, the most telling ones first."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from library.models import Document, Posting
from library.words import words_of

AROUND = 130
MARKUP = re.compile(r"^(\W)\1+$|``|\*\*|^\.\. .*$", re.MULTILINE)
"""Underlines, emphasis and directives of reStructuredText."""


@dataclass(frozen=True)
class Hit:
    """A document found, and the place where it says so."""

    document: Document
    score: float
    passage: SafeString


def search(query: str, limit: int = 20) -> list[Hit]:
    """Documents that have every word of the query, best first."""
    words = sorted(set(words_of(query)))
    scores = _scores(words)
    best = sorted(scores, key=lambda pk: -scores[pk])[:limit]
    documents = Document.objects.in_bulk(best)
    return [
        Hit(documents[pk], scores[pk], _passage(documents[pk], words)) for pk in best
    ]


def _scores(words: list[str]) -> dict[int, float]:
    """Each document's share of the words, rare words weighing more than common ones."""
    total = Document.objects.count()
    found: dict[str, dict[int, float]] = defaultdict(dict)
    postings = Posting.objects.filter(word__in=words).select_related("document")
    for posting in postings.defer("document__text"):
        share = posting.count / max(posting.document.length, 1)
        found[posting.word][posting.document_id] = share
    if not words or len(found) < len(words):
        return {}
    rarity = {word: math.log(1 + total / len(found[word])) for word in words}
    everywhere = set.intersection(*(set(found[word]) for word in words))
    return {
        pk: sum(found[word][pk] * rarity[word] for word in words) for pk in everywhere
    }


def _passage(document: Document, words: list[str]) -> SafeString:
    """The text around the first of the words, the words marked."""
    pattern = re.compile(rf"\b({'|'.join(words)})\b", re.IGNORECASE)
    text = " ".join(MARKUP.sub(" ", document.text).split())
    place = pattern.search(text)
    start = max(place.start() - AROUND // 2, 0) if place else 0
    pieces = pattern.split(text[start : start + 2 * AROUND])
    return format_html_join(
        "",
        "{}",
        (
            (format_html("<mark>{}</mark>", piece) if n % 2 else piece,)
            for n, piece in enumerate(pieces)
        ),
    )
