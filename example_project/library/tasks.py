"""Indexing."""

from __future__ import annotations

from collections import Counter

from django.db import transaction
from django.utils import timezone

from library.models import Document, Posting
from library.words import words_of


@transaction.atomic
def index(document_pk: int) -> int:
    """Write its part of the inverted index; returns its words."""
    document = Document.objects.get(pk=document_pk)
    counts = Counter(words_of(document.text))
    document.postings.all().delete()
    Posting.objects.bulk_create(
        Posting(word=word, document=document, count=count)
        for word, count in counts.items()
    )
    Document.objects.filter(pk=document_pk).update(
        length=counts.total(), indexed=timezone.now()
    )
    return len(counts)
