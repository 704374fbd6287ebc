"""Documents, and the inverted index over their words."""

from __future__ import annotations

from django.db import models


class Document(models.Model):
    """A text; saving it has it indexed in the background."""

    path = models.CharField(max_length=200, unique=True)
    title = models.CharField(max_length=200)
    text = models.TextField()
    length = models.PositiveIntegerField(default=0, editable=False)
    indexed = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ("path",)

    def __str__(self) -> str:
        return self.title


class Posting(models.Model):
    """How often a word stands in a document."""

    word = models.CharField(max_length=40)
    document = models.ForeignKey(
        Document, on_delete=models.CASCADE, related_name="postings"
    )
    count = models.PositiveIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("word", "document"), name="one_posting_per_word"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.word}: {self.count}"
