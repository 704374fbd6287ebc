"""Pruner: deletes the oldest successes beyond `save_limit`, some at a time."""

from __future__ import annotations

from datetime import datetime
from time import monotonic
from typing import Any, Final

from django.db import connections
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Window
from django.db.models.deletion import Collector
from django.db.models.functions import RowNumber

from django_q.models import Attempt, Success, Task
from django_q.options import Options
from django_q.results.database import AT_ONCE
from django_q.transactions import writing

MOST_FOUND: Final = 100_000
"""Rows that one look finds: to look through millions takes seconds, and each id is in
memory until its row is deleted.
"""

MOST_PRUNED: Final = 20_000
"""Rows; other chores have their turn before there are more."""

AT_A_STROKE: Final = {"postgresql": MOST_PRUNED}
"""Rows that one statement deletes, without asking first which they are. It looks through the
whole table: nobody else could write to SQLite meanwhile, and MySQL would lock all of it.
"""

NEWEST_FIRST: Final = (F("stopped").desc(), F("id").desc())

Found = tuple[str, datetime, bool]
"""A row to go: its id, when it ended, and whether it has attempts."""


def prune(options: Options, *, using: str) -> None:
    """Delete what is too much, but for what would take long."""
    Pruner(options, using=using, most=MOST_PRUNED).prune()


class Pruner:
    """Deletes the oldest successes beyond `save_limit`."""

    def __init__(
        self, options: Options, *, using: str, most: int | None = None
    ) -> None:
        """`most`: so many rows are found at once; None: MOST_FOUND."""
        self._options = options
        self._most = most or MOST_FOUND
        self._limit = options.save_limit
        self._using = using
        self._found: list[Found] = []
        self.has_more = False
        """Whether there may be some that were not deleted."""

        self.looked = 0.0
        """Seconds that the last look for them took."""

    def prune(self) -> int:
        """Delete so many of them at once. Gives how many; some may have gone before."""
        if self._limit <= 0:
            return 0
        if not self._found:
            begun = monotonic()
            surplus = self._look()
            self.looked = monotonic() - begun
            if isinstance(surplus, Q):
                self.has_more = False
                return self._delete_at_a_stroke(surplus)
            self._found = surplus
        some, self._found = self._found[:MOST_PRUNED], self._found[MOST_PRUNED:]
        for begin in range(0, len(some), AT_ONCE):
            self._delete(some[begin : begin + AT_ONCE])
        self.has_more = bool(self._found) or len(some) == MOST_PRUNED
        return len(some)

    def _look(self) -> Q | list[Found]:
        """What all that are too much have in common, where that is enough to delete them;
        else which they are.
        """
        rows = Success.objects.using(self._using).order_by()
        if per := self._options.save_limit_per:
            return self._list(self._surplus_of_each(rows, per))
        # Mostly nothing is too much, and to count is cheaper than to sort.
        number = rows.count() - self._limit
        old = self._older_than_newest(rows) if number > 0 else None
        if old is None:
            return []
        at_a_stroke = AT_A_STROKE.get(connections[self._using].vendor, 0)
        if number <= at_a_stroke and self._are_deleted_unseen():
            return old
        return self._list(rows.filter(old))

    def _list(self, surplus: QuerySet[Success]) -> list[Found]:
        # Few have attempts, and to ask for them by the ids of all costs as much as the rest.
        noted = Exists(Attempt.objects.using(self._using).filter(task=OuterRef("pk")))
        return list(surplus.values_list("pk", "stopped", noted)[: self._most])

    def _older_than_newest(self, rows: QuerySet[Success]) -> Q | None:
        # To number millions of rows takes far longer than to find the first to go.
        newest = rows.order_by(*NEWEST_FIRST).values_list("stopped", "pk")
        found = newest[self._limit :].first()
        if found is None:
            return None
        stopped, pk = found
        return Q(stopped__lt=stopped) | Q(stopped=stopped, pk__lte=pk)

    def _surplus_of_each(self, rows: QuerySet[Success], per: str) -> QuerySet[Success]:
        counted: QuerySet[Any] = rows.values(per).annotate(number=Count("pk"))
        if not counted.filter(number__gt=self._limit).exists():
            return rows.none()
        place = Window(RowNumber(), partition_by=[F(per)], order_by=NEWEST_FIRST)
        numbered = rows.annotate(place=place).filter(place__gt=self._limit)
        # What else is asked of rows is asked of these alone.
        return rows.filter(pk__in=numbered.values("pk"))

    def _are_deleted_unseen(self) -> bool:
        """Whether no other application points at these rows, or watches them go: then Django
        need not have them all in memory.
        """
        rows = [model.objects.using(self._using) for model in (Task, Attempt)]
        collector = Collector(using=self._using, origin=rows[0])
        return all(map(collector.can_fast_delete, rows))

    def _delete_at_a_stroke(self, old: Q) -> int:
        """A task that was saved again since the look does not meet the condition any more."""
        with writing(self._using, patient=True):
            tasks = Task.objects.using(self._using).filter(old, success=True)
            attempts = Attempt.objects.using(self._using)
            if attempts.exists():
                attempts.filter(task__in=tasks.values("pk")).delete()
            number, _ = tasks.delete()
        return number

    def _delete(self, some: list[Found]) -> None:
        """Through Django: other applications may point at these rows, or watch."""
        ids = [pk for pk, _, _ in some]
        noted = [pk for pk, _, has_attempts in some if has_attempts]
        # A task that was queued and saved again since the look has a newer row.
        newest = max(stopped for _, stopped, _ in some)
        with writing(self._using, patient=True):
            tasks = Task.objects.using(self._using)
            old = tasks.filter(success=True, stopped__lte=newest)
            if noted:
                noted = list(old.filter(pk__in=noted).values_list("pk", flat=True))
                Attempt.objects.using(self._using).filter(task__in=noted).delete()
            old.filter(pk__in=ids).delete()
