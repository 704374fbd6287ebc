"""An example: the full text of this repository's documents."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Max
from django.utils import timezone

from library.models import Document, Posting
from library.receivers import document_saved
from library.tasks import index
from tour.example import Example, Look, State


def save_all() -> str:
    """Saving is all: the rest follows from the signal."""
    started = timezone.now()
    for document in Document.objects.all():
        document.save()
    return started.isoformat()


def look_at_index(reference: str) -> Look:
    started = datetime.fromisoformat(reference)
    fresh = Document.objects.filter(indexed__gte=started)
    done, total = fresh.count(), Document.objects.count()
    if done < total:
        state = State.RUNNING if done else State.WAITING
        return Look(state=state, done=done, total=total)
    last = fresh.aggregate(last=Max("indexed"))["last"] or started
    words = Posting.objects.values("word").distinct().count()
    return Look(
        state=State.SUCCEEDED,
        words=f"{words:,} words in {total} documents",
        done=done,
        total=total,
        took=(last - started).total_seconds(),
    )


INDEX = Example(
    slug="search",
    title="Search these docs",
    words="Each document that is saved is indexed in the background. Then search.",
    button="Index all documents",
    label="library.tasks.index, all documents",
    start=save_all,
    look=look_at_index,
    shown=(document_saved, index),
    template="library/index.html",
)
