"""AtomicRuns: tasks that run in one transaction with their results and their end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

from django.db import Error, InterfaceError, OperationalError, connections, transaction

from django_q import outbox, results
from django_q.brokers import Broker
from django_q.brokers.front import in_service
from django_q.brokers.mishaps import Mishap, judge
from django_q.cluster.abroad import links_in, way_of
from django_q.cluster.roles import Launch
from django_q.cluster.trouble import Trouble
from django_q.exceptions import BrokerError, NotAtomic, PackageLocked
from django_q.execution.runner import NotRun, Perform
from django_q.logs import clean, logger
from django_q.outcome import Outcome
from django_q.results import Record
from django_q.tasks.atomicity import check_place
from django_q.transactions import writing

LONG: Final = 60.0
"""Seconds after which a transaction is worth a warning."""

PAUSES: Final = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between two tries to lock a package that another transaction has locked."""

OUTAGES: Final = (Error, BrokerError, OSError)


class NotOurs(NotRun):
    """The package is gone, or with another cluster."""


class Gone(NotOurs):
    """The package is nobody's: it has ended."""


class NotBegun(NotRun):
    """There was no transaction to run it in: the database is away, or busy."""


Ended = tuple[Outcome, Record]


@dataclass
class Commit:
    """How far the end of a transaction has come."""

    ended: Ended | None = None
    """What it makes true, once all of that is written."""

    is_done: bool = False
    """The database has said so."""

    def note(self) -> None:
        self.is_done = True


class AtomicRuns(threading.local):
    """Runs tasks of one worker, each in a transaction that begins by locking its package
    and ends by removing it.

    Until the commit nothing of it has happened; after it, all has. The lock keeps every
    other cluster from it, also one for which the lease has run out. So there is nothing
    in between at which a crash could double or lose what the task did in this database.

    Each thread has its own, as it has its own connections.
    """

    def __init__(self, launch: Launch, trouble: Trouble) -> None:
        """`trouble`: that of all threads, which wait for the same database."""
        self._launch = launch
        self._broker: Broker | None = None
        self._settled: Ended | None = None
        self._trouble = trouble

    def run(self, receipt: str, begin: Callable[[], None], perform: Perform) -> Outcome:
        """Perform a task, with all that follows; `begin` is called before.

        Raises what the task raises, or the database at the end, and NotRun; gives a
        failure if the result can't be stored. In all these cases all is rolled back.
        """
        self._settled = None
        check_place(self.broker)
        opened, commit = self._begin(receipt), Commit()
        self._trouble.end("atomic tasks run")
        began, begun_on = monotonic(), connections[self.database].connection
        try:
            with opened:
                # Before those of the task: one of them may raise, after the commit.
                connections[self.database].on_commit(commit.note)
                begin()
                outcome = perform()
                if outcome.success:
                    outcome = self._settle(receipt, outcome, commit)
                if commit.ended is None:
                    transaction.set_rollback(True, using=self.database)
        except BaseException as error:
            if commit.ended is None or not self._is_committed(commit, receipt, error):
                self._see_it_undone(receipt, begun_on)
                raise
            outcome = own(commit.ended[0])
        self._settled = commit.ended
        self._consider_length(outcome, monotonic() - began)
        return outcome

    def take_settled(self, outcome: Outcome) -> Ended | None:
        """What to finish, and its record, where the run that just ended was committed."""
        settled, self._settled = self._settled, None
        if settled is None:
            return None
        whole, record = settled
        if whole.last_part is None:
            # With what receivers have added meanwhile.
            whole = whole._replace(envelope=outcome.envelope)
        return whole, record

    def put_off(self, error: NotBegun) -> float:
        """Say so. Gives the seconds until it is worth another try."""
        what = "atomic tasks wait for the database"
        return self._trouble.begin(what, error.__cause__ or error)

    def wait_for(self, receipt: str) -> None:
        """Return when nobody has locked this package: what a dead worker had begun may
        take the database a moment to end. Raises NotRun.
        """
        check_place(self.broker)
        self._begin(receipt).close()

    @property
    def broker(self) -> Broker:
        if self._broker is None:
            self._broker = in_service(self._launch.broker)
            self._broker.enlist(self._launch.identity.id, self._broker.lease_length)
        return self._broker

    @property
    def database(self) -> str:
        return str(self.broker.database)

    # -- the transaction

    def _begin(self, receipt: str) -> ExitStack:
        """A transaction that has the package locked; leaving the stack ends it."""
        try:
            for pause in PAUSES:
                with suppress(PackageLocked):
                    return self._begin_once(receipt)
                sleep(pause)
            return self._begin_once(receipt)
        except OUTAGES as error:
            raise NotBegun(str(error)) from error

    def _begin_once(self, receipt: str) -> ExitStack:
        with ExitStack() as stack:
            stack.enter_context(writing(self.database, patient=True))
            if not self.broker.lock(receipt):
                raise NotOurs if self.broker.has(receipt) else Gone
            return stack.pop_all()

    def _settle(self, receipt: str, outcome: Outcome, commit: Commit) -> Outcome:
        """All that the monitor does for others, in the transaction of the task.

        Gives a failure, and writes nothing, where the result can't be stored.
        """
        options, key = self._launch.options, self._launch.list_key
        whole, record = results.conclude(outcome, options, key)
        if not own(whole).success:
            return own(whole)
        if record.keep:
            results.save_or_raise(record, using=self.database)
        results.save_attempts([record], using=self.database)
        self._send_link(record)
        if receipt not in self.broker.acknowledge_many([receipt]):
            message = "Its package was no longer ours when it had run."
            hint = "Does it commit, or change tables? Then it can't be atomic."
            raise NotAtomic(message, hint=hint)
        commit.ended = whole, record
        return own(whole)

    def _send_link(self, record: Record) -> None:
        way = way_of(record)
        if way is None:
            self.broker.enqueue_many(links_in([record], self.broker.short_key))
        elif outbox.write_alias() == self.database:
            for link in links_in([record], way):
                outbox.write(link)
        else:
            message = f"The chain goes on at {way!r}, outside of the transaction."
            raise NotAtomic(message, hint="Keep the outbox in the same database.")

    # -- its end

    def _is_committed(self, commit: Commit, receipt: str, error: BaseException) -> bool:
        """Whether it came to effect although something was raised. Raises NotBegun where
        nobody can tell yet.
        """
        if commit.is_done:
            text = "what was to follow the commit failed: %s"
            logger.error(text, clean(error), exc_info=error)
            return True
        if not isinstance(error, OperationalError | InterfaceError):
            return False
        return judge(error) is Mishap.LOST and self._is_gone(receipt)

    def _is_gone(self, receipt: str) -> bool:
        """The answer to a COMMIT was lost: the package tells what it was."""
        for pause in PAUSES:
            try:
                self._begin(receipt).close()
            except Gone:
                return True
            except NotOurs:
                # Others have got it since, because ours was undone.
                return False
            except NotBegun:
                sleep(pause)
            else:
                return False
        raise NotBegun

    def _see_it_undone(self, receipt: str, begun_on: object) -> None:
        """Where the connection broke, its server perhaps does not know yet: whoever
        records the end would wait for that, and all other results with him. Raises NotRun.
        """
        if connections[self.database].connection is not begun_on:
            self.wait_for(receipt)

    def _consider_length(self, outcome: Outcome, took: float) -> None:
        if took < LONG:
            return
        text = "%s [%s] was one transaction of %.0f s: keep atomic tasks short"
        envelope = outcome.envelope
        logger.warning(text, clean(envelope.func_name), clean(envelope.name), took)


def own(whole: Outcome) -> Outcome:
    """The task's own outcome, where it gave that of a whole iterable."""
    return whole.last_part or whole
