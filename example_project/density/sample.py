"""What is measured: the lengths of the sentences in the documents of this site."""

from __future__ import annotations

import re

from library.models import Document

SENTENCE = re.compile(r"[^.!?]+[.!?](?=\s)")
LONGEST = 60
LIMIT = 600


def sentence_lengths() -> list[int]:
    """Words in each sentence, evenly thinned out to at most LIMIT sentences."""
    texts = Document.objects.values_list("text", flat=True)
    lengths = [
        len(sentence.split())
        for text in texts
        for paragraph in text.split("\n\n")
        for sentence in SENTENCE.findall(paragraph + "\n")
    ]
    plausible = [length for length in lengths if 2 <= length <= LONGEST]
    step = max(len(plausible) // LIMIT, 1)
    return plausible[::step][:LIMIT]
