"""Tally: what became of many tasks, counted while they run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from django_q.models import Task

AGAIN: Final = (
    r"WARNING (?:↻ )?\S+ \[([^]]+)] (?:starts again.*: \S|did not end in the grace)"
)
"""The lines of the log that own up to one more start of a task, with the reason."""

AT_ONCE: Final = 2000
"""Ids in one question to the database."""


class Tail:
    """The lines that were appended to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0

    def lines(self) -> Iterator[str]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield line.decode(errors="replace")


class Tally:
    """The tasks of one queue: acknowledged, executed, saved."""

    def __init__(self, queue: str, acknowledgements: Path, log: Path) -> None:
        self.queue = queue
        self.acknowledged = 0
        self.refused = 0
        self.executed: Counter[str] = Counter()
        self.twice = 0
        self._acknowledgements = Tail(acknowledgements)
        self._log = Tail(log)
        self._not_executed: set[str] = set()
        self._not_saved: set[str] = set()

    def update(self) -> None:
        """Read what was written since, and look for rows that are not seen yet."""
        for line in self._acknowledgements.lines():
            task_id, word, *more = line.split()[0].split(":")
            if more:
                self.refused += 1
                continue
            self.acknowledged += 1
            self._not_executed.add(word)
            self._not_saved.add(task_id)
        for line in self._log.lines():
            kind, _, word = line.split()[0].partition(":")
            if kind == "end":
                self.twice += word in self.executed
                self.executed[word] += 1
        self._not_executed = {w for w in self._not_executed if w not in self.executed}
        unsaved = list(self._not_saved)
        for first in range(0, len(unsaved), AT_ONCE):
            some = unsaved[first : first + AT_ONCE]
            self._not_saved.difference_update(self._successes(some))

    def _successes(self, ids: Iterable[str]) -> Iterable[str]:
        rows = Task.objects.filter(cluster=self.queue, id__in=list(ids), success=True)
        return list(rows.values_list("id", flat=True))

    def rows(self) -> int:
        """All that there are, also of failures, and of tasks that nobody promised."""
        return Task.objects.filter(cluster=self.queue).count()

    @property
    def lost(self) -> int:
        """Acknowledged, and not executed to its end (yet)."""
        return len(self._not_executed)

    @property
    def missing(self) -> int:
        """Acknowledged, and no row says that it succeeded (yet)."""
        return len(self._not_saved)

    def unannounced(self, said: Counter[str]) -> Counter[str]:
        """Id of a task -> how many repetitions the logs do not own up to."""
        repeated = {word: n - 1 for word, n in self.executed.items() if n > 1}
        # Which id has which word is read once more: nobody keeps that for an hour.
        again = Tail(self._acknowledgements.path).lines()
        split = (line.split()[0].split(":") for line in again)
        extra = {i: repeated[word] for i, word, *_ in split if word in repeated}
        return unannounced(extra, said)


def announcements(logs: Iterable[Path]) -> Counter[str]:
    """Name of a task -> how often the logs say that it starts again."""
    texts = (log.read_text(errors="replace") for log in logs)
    return Counter(name for text in texts for name in re.findall(AGAIN, text))


def unannounced(extra: Mapping[str, int], said: Counter[str]) -> Counter[str]:
    """Those of these repetitions, by the id of their task, to which the logs do not own
    up; they `said` by its name how often it starts again.
    """
    names = Task.objects.filter(id__in=extra).values_list("id", "name")
    silent = Counter({task_id: extra[task_id] - said[name] for task_id, name in names})
    return +silent
