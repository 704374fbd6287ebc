"""Outbox: tasks for brokers outside the database, in a table until they are sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, Final

from django.apps import apps
from django.db import connections, router
from django.db.models import Count, DateTimeField, Expression, Q, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Length

from django_q import clock
from django_q.brokers import Consignment
from django_q.brokers.tables import TABLES, open_table
from django_q.logs import clean, logger
from django_q.models import OutboxEntry
from django_q.questions import Question
from django_q.transactions import writing

GRACE: Final = 5.0
"""Seconds that a process has for sending what it wrote, before the clusters do it."""

REST: Final = 5.0
"""Seconds for which a process leaves sending to the clusters after a failure of its own:
to ask a broker that is away may take longer than the caller would like to wait.
"""

MOST_NAMED: Final = 500
"""Tasks that one statement names: older SQLite takes no more than 999 values."""

ERROR_SHOWN: Final = 1000
"""Characters of an error that are kept."""


def write_alias() -> str:
    """The database that has the outbox."""
    return router.db_for_write(OutboxEntry)


def is_there() -> bool:
    """Whether the table is there: asked only while `migrate` works on its database. Another
    app's migrations may run before ours, and enqueue something.
    """
    using = write_alias()
    app = apps.get_app_config("django_q")
    if using not in getattr(app, "migrating", ()):
        return True
    table = OutboxEntry._meta.db_table  # noqa: SLF001 - public by its docs
    return table in connections[using].introspection.table_names()


def write(*new: Consignment, once: bool = False) -> None:
    """Write packages into the outbox, in the caller's transaction where there is one.

    Under the same task id once. `once`: their broker is to know their ids for longer.
    """
    using = write_alias()
    with writing(using):
        moment, due = _moment(using), _moment(using, GRACE)
        entries = [
            OutboxEntry(
                task_id=str(each.task_id),
                queue=each.queue,
                package=each.package,
                created=moment,
                due=due,
                once=once or None,
            )
            for each in new
        ]
        _entries(using).bulk_create(entries, ignore_conflicts=True)


def remove(ids: Collection[str], *, patient: bool = False) -> None:
    """Take tasks out of the outbox: they are sent."""
    using, left = write_alias(), list(ids)
    with writing(using, patient=patient):
        for start in range(0, len(left), MOST_NAMED):
            some = left[start : start + MOST_NAMED]
            _entries(using).filter(task_id__in=some).delete()


class Courier:
    """Sends what this process has committed in its outbox, and takes it out.

    Never raises: the task is safe, and what can't be sent now, a cluster sends later.
    """

    def __init__(self) -> None:
        self._rests: dict[str, float] = {}
        """Queues whose broker failed, and until when nothing is sent there from here."""

    def deliver(self, new: Sequence[Consignment], send: Callable[[], None]) -> None:
        """Send packages of one queue, unless its broker failed a moment ago."""
        queue = new[0].queue
        if monotonic() < self._rests.get(queue, 0.0):
            return
        try:
            send()
            remove([str(each.task_id) for each in new])
        except Exception as error:  # noqa: BLE001 - the caller's work is committed
            self._rest(queue, error)
        else:
            if self._rests.pop(queue, None) is not None:
                logger.info("Tasks for %s are sent at once again", clean(queue))

    def _rest(self, queue: str, error: Exception) -> None:
        was_resting = queue in self._rests
        self._rests[queue] = monotonic() + REST
        if not was_resting:
            text = "Tasks for %s wait in the outbox for a cluster to send them: %s"
            reason = clean(error) or type(error).__name__
            logger.error(text, clean(queue), reason)


def count() -> tuple[int, int]:
    """How many entries there are, and how many of them a broker did not take."""
    figures = _entries(write_alias()).aggregate(
        all=Count("pk"), refused=Count("pk", filter=Q(tries__gt=0))
    )
    return figures["all"], figures["refused"]


# -- for those who send what others left behind


def first_due() -> Question:
    """When the next entry is due; None where there is none."""
    entries = _entries(write_alias()).order_by("due")
    return Question(entries.values_list("due", flat=True))


def is_quiet() -> bool:
    """Whether nothing will be due within the grace that each new entry has."""
    using = write_alias()
    return not _entries(using).filter(due__lte=_moment(using, GRACE)).exists()


def take(count: int, lease: float, *, without: Collection[str]) -> list[Any]:
    """Up to so many entries that are due, those first which have been longest, for
    `lease` seconds: nobody else gets them meanwhile.

    Their packages are not read yet; `size` says how many characters each has. Nothing
    for the queues in `without`.
    """
    using = write_alias()
    due = _entries(using).filter(due__lte=_moment(using)).exclude(queue__in=without)
    # An empty outbox needs no transaction, and no lock.
    if not due.exists():
        return []
    with writing(using, patient=True):
        skips = connections[using].features.has_select_for_update_skip_locked
        rows = due.select_for_update(skip_locked=skips).order_by("due", "id")
        taken = list(rows.defer("package").annotate(size=Length("package"))[:count])
        _lock(using, taken, lease)
    return taken


def read_packages(entries: Sequence[OutboxEntry]) -> dict[str, str]:
    """Task id -> package; of those that are still there."""
    rows = _entries(write_alias()).filter(pk__in=[entry.pk for entry in entries])
    return dict(rows.values_list("task_id", "package"))


def put_back(entries: Sequence[OutboxEntry], pause: float) -> None:
    """Entries that were not tried are due again after so many seconds."""
    using = write_alias()
    with writing(using, patient=True):
        _lock(using, entries, pause)


def put_off(entry: OutboxEntry, error: Exception, pause: float) -> None:
    """An entry that its broker did not take is due again after so many seconds."""
    using = write_alias()
    text = f"{type(error).__name__}: {clean(error, ERROR_SHOWN)}"
    with writing(using, patient=True):
        _entries(using).filter(pk=entry.pk).update(
            due=_moment(using, pause), tries=entry.tries + 1, error=text
        )


def _lock(using: str, entries: Sequence[OutboxEntry], seconds: float) -> None:
    rows = _entries(using).filter(pk__in=[entry.pk for entry in entries])
    rows.update(due=_moment(using, seconds))


def _entries(using: str) -> QuerySet[OutboxEntry]:
    return OutboxEntry.objects.using(using)


def _moment(using: str, delay: float = 0) -> Expression:
    """This moment, or one after `delay` seconds, by the database's clock; by that of this
    machine where we don't know its words.
    """
    if connections[using].vendor not in TABLES:
        then = clock.now() + timedelta(seconds=delay)
        return Value(then, output_field=DateTimeField())
    words = open_table(connections[using], "").moment(delay)
    return RawSQL(words.text, words.values, output_field=DateTimeField())  # noqa: S611 - our own words
