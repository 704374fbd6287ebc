"""Pauses: the queues from which nothing is taken, in a table beside the queue."""

from __future__ import annotations

from django.db.models import QuerySet

from django_q.brokers.table import Table
from django_q.models import PausedQueue
from django_q.transactions import writing


class Pauses:
    """Whether the queue of a table is paused. Every claim looks."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._alias = table.connection.alias

    def pause(self) -> None:
        with writing(self._alias):
            row = PausedQueue(key=self._table.key)
            PausedQueue.objects.using(self._alias).bulk_create(
                [row], ignore_conflicts=True
            )

    def resume(self) -> None:
        """Wakes those who found nothing to take."""
        with writing(self._alias):
            self._rows().delete()
            self._table.wake()

    def is_paused(self) -> bool:
        return self._rows().exists()

    def _rows(self) -> QuerySet[PausedQueue]:
        return PausedQueue.objects.using(self._alias).filter(key=self._table.key)
