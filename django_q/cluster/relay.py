"""Relay: sends what was left in the outbox by those who wrote it there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, Final

from django.db import router

from django_q import clock, outbox
from django_q.brokers import Broker, Consignment, get_broker, verbs
from django_q.cluster.trouble import Trouble
from django_q.exceptions import ConfigurationError
from django_q.logs import clean, logger
from django_q.models import OutboxEntry, Task
from django_q.models.ormq import peek

Entries = dict[str, Any]
"""Entries of the outbox, by their tasks' ids."""

LOOK_EVERY: Final = 2.0
"""Seconds after which an entry that is due is noticed at the latest."""

BATCH: Final = 200
"""Entries that are taken in one pass."""

CHUNK: Final = 1024 * 1024
"""Characters of packages that are in memory at once, unless a single one has more."""

LEASE: Final = 60.0
"""Seconds for which nobody else takes what a pass has taken."""

LONGEST_PASS: Final = 2.0
"""Seconds after which a pass ends, so that the heartbeat goes on."""

FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 600.0
"""Between two tries of an entry that its broker refuses."""

LONGEST_OUTAGE: Final = 60.0
"""Between two tries of one on which the connection broke."""


class Relay:
    """Sends every overdue entry to the broker of its queue, and takes it out.

    A package is sent before its entry is removed: after a crash in between it is sent
    again, under the same id. An entry that fails is tried ever more rarely, and holds up
    nobody; a broker that can't be reached holds up its own queues only.
    """

    def __init__(self) -> None:
        self._first_due = outbox.first_due()
        self._brokers: dict[str, Broker] = {}
        self._troubles: dict[str, Trouble] = {}
        self._careful: set[str] = set()
        """Queues that did not take many at once: next they get one by one."""

    def rest(self) -> float:
        """Seconds for which there is nothing to send, unless somebody has to look."""
        return 0.0 if self._first_due.ask() else outbox.GRACE

    def send_overdue(self) -> float:
        """One pass; gives the seconds until the next one."""
        if self.rest() or outbox.is_quiet():
            return outbox.GRACE
        end = monotonic() + LONGEST_PASS
        resting = [queue for queue, each in self._troubles.items() if each.rest]
        taken = outbox.take(BATCH, LEASE, without=resting)
        by_queue: defaultdict[str, Entries] = defaultdict(dict)
        for entry in taken:
            by_queue[entry.queue][entry.task_id] = entry
        for queue, entries in by_queue.items():
            self._serve(queue, entries, end)
        return 0.0 if len(taken) == BATCH else LOOK_EVERY

    def close(self) -> None:
        """Close the connections; the next package opens them anew."""
        for broker in self._brokers.values():
            broker.close()

    def _serve(self, queue: str, left: Entries, end: float) -> None:
        """Send the entries of one queue; those that are left are put back."""
        trouble = self._troubles.setdefault(queue, Trouble(1.0, 30.0))
        pause, count = 0.0, len(left)
        try:
            while left and monotonic() < end:
                self._send_some(queue, left)
        except (OSError, ConfigurationError) as error:
            what = f"the outbox can't be sent to {clean(queue)}"
            pause = trouble.begin(what, error)
        else:
            if len(left) < count:
                trouble.end(f"the outbox is sent to {clean(queue)}")
                self._careful.discard(queue)
        if left:
            outbox.put_back(list(left.values()), pause)

    def _send_some(self, queue: str, left: Entries) -> None:
        """Send the first few, and take them out of `left`. Raises what says that the
        broker can't be reached.
        """
        chunk = first_chunk(left.values())
        packages = outbox.read_packages(chunk)
        ended = ended_since(packages)
        if ended:
            outbox.remove(ended, patient=True)
        for task_id in ended:
            logger.info("Left in the outbox, but done: %s. Not sent again", task_id)
        for entry in chunk:
            if entry.task_id in ended or entry.task_id not in packages:
                # Whoever wrote it has sent it after all.
                del left[entry.task_id]
        new = [
            Consignment(packages[entry.task_id], queue, entry.task_id)
            for entry in chunk
            if entry.task_id in left
        ]
        if not new:
            return
        broker = self._broker_of(queue)
        can_send_many = broker.supports_bulk and broker.supports_ids
        # Which ids a broker is to know for longer, it is told one by one.
        is_told = broker.supports_once and any(left[str(e.task_id)].once for e in new)
        if can_send_many and not is_told and queue not in self._careful:
            self._send_at_once(broker, new, left)
        else:
            self._send_one_by_one(broker, new, left)

    def _send_at_once(
        self, broker: Broker, new: Sequence[Consignment], left: Entries
    ) -> None:
        """All in one go; if that fails, next time one by one, to see which it was."""
        try:
            broker.enqueue_many(new)
        except Exception as error:
            self._careful.update(each.queue for each in new)
            if isinstance(error, OSError):
                raise
        else:
            self._forget([str(each.task_id) for each in new], left)

    def _send_one_by_one(
        self, broker: Broker, new: Iterable[Consignment], left: Entries
    ) -> None:
        sent: list[str] = []
        try:
            for each in new:
                task_id = str(each.task_id)
                try:
                    once = bool(left[task_id].once)
                    verbs.enqueue(broker, each.package, task_id, once=once)
                except Exception as error:
                    self._put_off(left.pop(task_id), error)
                    if isinstance(error, OSError):
                        raise
                else:
                    sent.append(task_id)
        finally:
            self._forget(sent, left)

    def _forget(self, sent: Sequence[str], left: Entries) -> None:
        """These are on their queue."""
        if not sent:
            return
        outbox.remove(sent, patient=True)
        for task_id in sent:
            logger.info("Sent %s, which was left in the outbox", task_id)
            del left[task_id]

    def _put_off(self, entry: OutboxEntry, error: Exception) -> None:
        """Try it again later; each time, later still."""
        longest = LONGEST_OUTAGE if isinstance(error, OSError) else LONGEST_PAUSE
        pause = min(longest, FIRST_PAUSE * 2 ** min(entry.tries, 10))
        outbox.put_off(entry, error, pause)
        if not entry.tries:
            text = "task %s stays in the outbox: the broker of %s did not take it: %s"
            logger.error(text, entry.task_id, clean(entry.queue), clean(error))

    def _broker_of(self, queue: str) -> Broker:
        if queue not in self._brokers:
            self._brokers[queue] = get_broker(queue)
        return self._brokers[queue]


def first_chunk(entries: Iterable[Any]) -> list[Any]:
    """As many of the first entries as may be in memory together; at least one."""
    chunk: list[Any] = []
    room = CHUNK
    for entry in entries:
        room -= entry.size
        if chunk and room < 0:
            break
        chunk.append(entry)
    return chunk


def ended_since(packages: Mapping[str, str]) -> set[str]:
    """Those whose task has succeeded since they were written: only their removal failed.

    `packages` by their tasks' ids. An id may be queued again by whoever chose it, so a row
    counts if it is of this very package: it has the moment that is in there, which
    whoever queued it has set, and no clock since. In doubt it is sent.
    """
    tasks = Task.objects.using(router.db_for_write(Task))
    rows = tasks.filter(pk__in=packages, success=True).values_list("pk", "started")
    return {pk for pk, started in rows if started == queued_at(packages[pk])}


def queued_at(package: str) -> datetime | None:
    """The moment in a package, from which nothing is imported; None for what has none."""
    given = peek(package).get("started")
    return clock.moment(given) if isinstance(given, datetime) else None
